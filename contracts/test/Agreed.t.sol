// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {Moody, Hooked} from "./support/Tokens.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";

/// @notice What both parties sign: withdrawals and cooperative closes.
contract AgreedTest is Base {
    bytes4 private constant BAD_AMOUNT = bytes4(keccak256("BadAmount()"));
    bytes4 private constant BAD_SIGNATURE = bytes4(keccak256("BadSignature()"));
    uint40 private constant LATER = uint40(START + 1000);

    function w(bool isHigh, uint96 amount, address agent_, uint96 fee, uint40 expiry)
        internal
        view
        returns (IChannels.Withdrawal memory)
    {
        return IChannels.Withdrawal(partyOf(isHigh), amount, user, agent_, fee, expiry);
    }

    function doWithdraw(IChannels.Withdrawal memory x) internal {
        bytes32 h = withdrawHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.prank(agent);
        ch.withdraw(c, x, l, s);
    }

    function failWithdraw(IChannels.Withdrawal memory x, bytes4 why) internal {
        bytes32 h = withdrawHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.prank(agent);
        vm.expectRevert(why);
        ch.withdraw(c, x, l, s);
    }

    function testWithdraw() public {
        openWith(100, 50);
        doWithdraw(w(true, 20, agent, 3, LATER));
        (int96 l, int96 h, uint32 e, uint40 t, uint8 phase) = channelOf(id);
        ok(l == 100 && h == 30 && e == 0 && t == LATER && phase == 1, "word");
        eq(smt.balanceOf(user), 1_000_017, "paid less the fee");
        eq(smt.balanceOf(agent), 1_000_003, "fee");
    }

    function testWithdrawLogsTheWord() public {
        openWith(100, 50);
        vm.recordLogs();
        doWithdraw(w(false, 20, agent, 0, LATER));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Withdrawn(bytes32,uint256)"), "event");
        eq(logs[0].topics[1], id, "channel");
        eq(uint256(bytes32(logs[0].data)), 80 | (50 << 96) | (uint256(LATER) << 216) | (1 << 252), "word");
    }

    function testWithdrawMoreThanDeposited() public {
        openWith(100, 50);
        doWithdraw(w(true, 120, address(0), 0, LATER));
        (int96 l, int96 h,,,) = channelOf(id);
        ok(l == 100 && h == -70, "received money can leave too");
        failWithdraw(w(false, 31, agent, 0, LATER + 1), BAD_AMOUNT);
        doWithdraw(w(false, 30, agent, 0, LATER + 1));
        (l, h,,,) = channelOf(id);
        ok(l == 70 && h == -70, "nothing left");
    }

    function testWithdrawIsExecutedOnce() public {
        openWith(100, 50);
        doWithdraw(w(true, 20, agent, 3, LATER));
        failWithdraw(w(true, 20, agent, 3, LATER), IChannels.Expired.selector);
        failWithdraw(w(true, 20, agent, 3, LATER - 1), IChannels.Expired.selector);
        doWithdraw(w(true, 20, agent, 3, LATER + 1));
    }

    function testWithdrawExpiryBoundary() public {
        openWith(100, 50);
        IChannels.Withdrawal memory x = w(true, 1, agent, 0, LATER);
        vm.warp(LATER);
        failWithdraw(x, IChannels.Expired.selector);
        vm.warp(LATER + 1);
        failWithdraw(x, IChannels.Expired.selector);
        vm.warp(LATER - 1);
        doWithdraw(x);
    }

    function testWithdrawExpiryFitsItsField() public {
        openWith(100, 50);
        failWithdraw(w(true, 1, agent, 0, uint40(2 ** 36)), IChannels.Expired.selector);
        doWithdraw(w(true, 1, agent, 0, uint40(2 ** 36 - 1)));
        (,,, uint40 t, uint8 phase) = channelOf(id);
        ok(t == 2 ** 36 - 1 && phase == 1, "kept");
    }

    function testWithdrawAmounts() public {
        openWith(100, 50);
        failWithdraw(w(true, 0, agent, 0, LATER), BAD_AMOUNT);
        failWithdraw(w(true, 10, agent, 11, LATER), BAD_AMOUNT);
        failWithdraw(w(true, 151, agent, 0, LATER), BAD_AMOUNT);
        doWithdraw(w(true, 10, agent, 10, LATER));
        doWithdraw(w(true, 140, agent, 0, LATER + 1));
    }

    function testWithdrawParty() public {
        openWith(100, 50);
        IChannels.Withdrawal memory x = w(true, 10, agent, 0, LATER);
        x.party = stranger;
        failWithdraw(x, IChannels.BadParties.selector);
        x.party = high;
        x.to = address(0);
        failWithdraw(x, IChannels.BadParties.selector);
        x.to = user;
        x.agent = stranger;
        failWithdraw(x, IChannels.WrongAgent.selector);
    }

    function testWithdrawOnlyWhileOpen() public {
        failWithdraw(w(true, 10, agent, 0, LATER), IChannels.WrongPhase.selector);
        openWith(100, 50);
        closeBy(false, empty(), empty());
        failWithdraw(w(true, 10, agent, 0, LATER), IChannels.WrongPhase.selector);
    }

    function testWithdrawNeedsBothSignaturesOverAllFields() public {
        openWith(100, 50);
        IChannels.Withdrawal memory x = w(true, 20, agent, 3, LATER);
        bytes32 h = withdrawHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, s, l);
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, l, l);
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, s, s);
        for (uint256 i = 0; i < 6; i++) {
            IChannels.Withdrawal memory y = w(true, 20, agent, 3, LATER);
            if (i == 0) y.party = low;
            if (i == 1) y.amount = 21;
            if (i == 2) y.to = stranger;
            if (i == 3) y.agent = address(0);
            if (i == 4) y.fee = 4;
            if (i == 5) y.expiry = LATER + 1;
            vm.expectRevert(BAD_SIGNATURE);
            ch.withdraw(c, y, l, s);
        }
        vm.stopPrank();
    }

    function testSignaturesAreCanonical() public {
        openWith(100, 50);
        IChannels.Withdrawal memory x = w(true, 20, agent, 3, LATER);
        bytes32 h = withdrawHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.startPrank(agent);
        // The twin with s' = n - s and the other parity recovers to the same key, where it fits the compact form.
        uint256 sValue = uint256(s.vs) & (type(uint256).max >> 1);
        uint256 twin = ORDER - sValue;
        if (twin < 2 ** 255) {
            IChannels.Signature memory t =
                IChannels.Signature(s.r, bytes32(twin | (uint256(~s.vs) & (1 << 255))));
            vm.expectRevert(BAD_SIGNATURE);
            ch.withdraw(c, x, l, t);
        }
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, l, IChannels.Signature(s.r, bytes32(uint256(s.vs) ^ (1 << 255))));
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, l, IChannels.Signature(0, s.vs));
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, l, IChannels.Signature(s.r, 0));
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, noSig(), noSig());
        vm.stopPrank();
    }

    /// @dev A signature whose s lies between n/2 and 2^255 exists for one digest in 2^128, so it is made the other way
    /// round: s is chosen first and the key follows from it.
    function testHighSIsRefused() public view {
        uint256 half = ORDER / 2;
        bytes32 digest = keccak256("anything");
        address a = ecrecover(digest, 27, bytes32(uint256(1)), bytes32(half));
        address b = ecrecover(digest, 27, bytes32(uint256(1)), bytes32(half + 1));
        ok(a != address(0) && b != address(0), "both recover");
        // A receipt by such a key, judged by the same code.
        for (uint256 i = 0; i < 2; i++) {
            bytes32 message = keccak256("m");
            bytes32 d = keccak256(
                abi.encodePacked(
                    hex"1901",
                    domain("SmartMesh Conditions", address(conditions)),
                    keccak256(abi.encode(keccak256("Receipt(bytes32 message)"), message))
                )
            );
            bytes32 s = bytes32(half + i);
            address key = ecrecover(d, 27, bytes32(uint256(1)), s);
            bytes memory condition = abi.encodePacked(uint8(5), key, message);
            bool good = conditions.satisfied(condition, abi.encode(bytes32(uint256(1)), s), uint40(START + 1));
            ok(good == (i == 0), "n/2 is the last good s");
        }
    }

    function testZeroSignerNeverCounts() public view {
        // ecrecover gives zero for rubbish; zero must not pass as the destination of a receipt.
        bytes memory condition = abi.encodePacked(uint8(5), address(0), bytes32("m"));
        bool good = conditions.satisfied(condition, abi.encode(bytes32(0), bytes32(0)), uint40(START + 1));
        ok(!good, "zero");
    }

    // ---------------------------------------------------------------- cooperative close

    function p(uint96 l, uint96 h, uint96 fee) internal view returns (IChannels.Payouts memory) {
        return IChannels.Payouts(l, h, user, stranger, agent, fee, LATER);
    }

    function doClose(IChannels.Payouts memory x) internal {
        bytes32 h = payoutsHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.prank(agent);
        ch.coopClose(c, x, l, s);
    }

    function failClose(IChannels.Payouts memory x, bytes4 why) internal {
        bytes32 h = payoutsHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.prank(agent);
        vm.expectRevert(why);
        ch.coopClose(c, x, l, s);
    }

    function testCoopClose() public {
        openWith(100, 50);
        vm.recordLogs();
        doClose(p(120, 25, 5));
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Settled(bytes32,uint256,uint256)"), "event");
        eq(smt.balanceOf(user), 1_000_120, "low's payout where low wants it");
        eq(smt.balanceOf(stranger), 25, "high's");
        eq(smt.balanceOf(agent), 1_000_005, "fee");
        (int96 l, int96 h, uint32 e, uint40 t, uint8 phase) = channelOf(id);
        ok(l == 0 && h == 0 && e == 1 && t == 0 && phase == 0, "next epoch");
        eq(smt.balanceOf(address(ch)), 0, "nothing left");
    }

    function testCoopCloseMustShareEverything() public {
        openWith(100, 50);
        failClose(p(120, 25, 4), BAD_AMOUNT);
        failClose(p(120, 25, 6), BAD_AMOUNT);
        failClose(p(2 ** 96 - 1, 151, 0), BAD_AMOUNT);
    }

    function testCoopCloseBoundariesAndAgent() public {
        openWith(100, 50);
        IChannels.Payouts memory x = p(150, 0, 0);
        vm.warp(LATER);
        failClose(x, IChannels.Expired.selector);
        vm.warp(LATER - 1);
        x.agent = stranger;
        failClose(x, IChannels.WrongAgent.selector);
        x.agent = address(0);
        x.lowTo = address(0);
        failClose(x, IChannels.BadParties.selector);
        x.lowTo = low;
        x.highTo = address(0);
        doClose(x);
    }

    function testCoopCloseNeedsAChannel() public {
        failClose(p(0, 0, 0), IChannels.WrongPhase.selector);
    }

    function testCoopCloseEndsADispute() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(true, empty(), empty());
        IChannels.Payouts memory x = p(120, 30, 0);
        failClose(x, IChannels.WrongPhase.selector);
        bytes32 h = payoutsHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.startPrank(agent);
        k[7] += 1;
        vm.expectRevert(IChannels.WrongClosing.selector);
        ch.coopCloseDisputed(c, k, x, l, s);
        k[7] -= 1;
        x.lowAmount -= 1;
        vm.expectRevert(BAD_AMOUNT);
        ch.coopCloseDisputed(c, k, x, l, s);
        x.lowAmount += 1;
        vm.expectRevert(BAD_SIGNATURE);
        ch.coopCloseDisputed(c, k, x, s, l);
        ch.coopCloseDisputed(c, k, x, l, s);
        vm.stopPrank();
        eq(smt.balanceOf(user), 1_000_120, "low's receiver");
        eq(smt.balanceOf(stranger), 30, "high's receiver");
        eq(recordHash(id), 0, "record cleared");
        ok(epoch() == 1, "epoch");
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.coopCloseDisputed(c, k, x, l, s);
    }

    function testCoopCloseNeedsBothSignaturesOverAllFields() public {
        openWith(100, 50);
        IChannels.Payouts memory x = p(120, 25, 5);
        bytes32 h = payoutsHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.coopClose(c, x, s, l);
        vm.expectRevert(BAD_SIGNATURE);
        ch.coopClose(c, x, l, l);
        vm.expectRevert(BAD_SIGNATURE);
        ch.coopClose(c, x, s, s);
        for (uint256 i = 0; i < 6; i++) {
            IChannels.Payouts memory y = p(120, 25, 5);
            if (i == 0) (y.lowAmount, y.highAmount) = (119, 26);
            if (i == 1) (y.lowAmount, y.fee) = (119, 6);
            if (i == 2) y.lowTo = stranger;
            if (i == 3) y.highTo = user;
            if (i == 4) y.agent = address(0);
            if (i == 5) y.deadline = LATER + 1;
            vm.expectRevert(BAD_SIGNATURE);
            ch.coopClose(c, y, l, s);
        }
        vm.stopPrank();
    }

    /// @dev Both signatures of one epoch are worth nothing in the next.
    function testNothingCrossesEpochs() public {
        openWith(100, 50);
        IChannels.Payouts memory x = p(100, 50, 0);
        bytes32 h = payoutsHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        IChannels.Withdrawal memory y = w(false, 10, agent, 0, LATER);
        h = withdrawHash(y);
        IChannels.Signature memory yl = sign(lowKey, h);
        IChannels.Signature memory ys = sign(highKey, h);
        vm.startPrank(agent);
        ch.coopClose(c, x, l, s);
        vm.stopPrank();
        openWith(100, 50);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.coopClose(c, x, l, s);
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, y, yl, ys);
        vm.stopPrank();
    }

    function testForkOfTheChainVoidsSignatures() public {
        openWith(100, 50);
        IChannels.Withdrawal memory x = w(true, 20, agent, 3, LATER);
        bytes32 h = withdrawHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.chainId(block.chainid + 1);
        vm.prank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.withdraw(c, x, l, s);
        doWithdraw(x);
    }

    function testRefusedPayoutsBecomeCredits() public {
        Moody t = new Moody();
        useToken(address(t));
        t.mint(address(this), 1000);
        for (uint256 i = 1; i <= 6; i++) {
            t.setMood(Moody.Mood.Good);
            ch.deposit(c, epoch(), false, 100, 0, 0);
            t.setMood(Moody.Mood(i));
            IChannels.Payouts memory x = p(60, 30, 10);
            doClose(x);
            eq(ch.credits(address(t), user), 60 * i, "credit");
            eq(ch.credits(address(t), stranger), 30 * i, "credit");
            eq(ch.credits(address(t), agent), 10 * i, "credit");
        }
        vm.expectRevert(bytes4(keccak256("TokenFailed()")));
        ch.claim(address(t), user, user);
        t.setMood(Moody.Mood.Good);
        vm.expectRevert(IChannels.WrongAgent.selector);
        ch.claim(address(t), user, agent);
        ch.claim(address(t), user, user);
        eq(t.balanceOf(user), 360, "paid later");
        vm.expectRevert(BAD_AMOUNT);
        ch.claim(address(t), user, user);
        vm.recordLogs();
        vm.prank(stranger);
        ch.claim(address(t), stranger, agent);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Claimed(address,address,address,uint256)"), "event");
        eq(t.balanceOf(agent), 180, "the owner of a credit may send it elsewhere");
        eq(t.balanceOf(address(ch)), 60, "what is owed is held");
    }

    function testPayoutNeedsGasAtHand() public {
        openWith(100, 50);
        IChannels.Payouts memory x = p(120, 25, 5);
        bytes32 h = payoutsHash(x);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        bytes memory data = abi.encodeCall(ch.coopClose, (c, x, l, s));
        vm.prank(agent);
        (bool done, bytes memory why) = address(ch).call{gas: 250_000}(data);
        ok(!done && bytes4(why) == bytes4(keccak256("GasTooLow()")), "too little gas is no refusal of the token");
        vm.prank(agent);
        (done,) = address(ch).call{gas: 400_000}(data);
        ok(done, "enough");
    }

    /// @dev While one payout runs, a token's hook gets into no entry that moves money or state.
    function testReentrantPayoutIsRefused() public {
        Hooked t = new Hooked();
        useToken(address(t));
        t.mint(address(this), 10_000);
        t.approve(address(ch), 10_000);
        IChannels.Channel memory x = c;
        IChannels.State memory s;
        IChannels.Signature memory g;
        IChannels.Mandate[] memory m = none();
        uint256[8] memory k;
        IChannels.Withdrawal memory wd;
        IChannels.Payouts memory po;
        IChannels.DepositOrder memory o;
        bytes[] memory calls = new bytes[](15);
        calls[0] = abi.encodeCall(ch.claim, (address(t), user, user));
        calls[1] = abi.encodeCall(ch.onApprovalReceived, (address(this), 1, ""));
        calls[2] = abi.encodeCall(ch.settleBatch, (new IChannels.Channel[](0), new uint256[8][](0)));
        calls[3] = abi.encodeCall(ch.settle, (x, k));
        calls[4] = abi.encodeCall(ch.deposit, (x, 0, false, 1, 0, 0));
        calls[5] = abi.encodeCall(ch.depositFor, (x, 0, false, 0, 0, o, g));
        calls[6] = abi.encodeCall(ch.withdraw, (x, wd, g, g));
        calls[7] = abi.encodeCall(ch.coopClose, (x, po, g, g));
        calls[8] = abi.encodeCall(ch.close, (x, false, s, s, g, m));
        calls[9] = abi.encodeCall(ch.closeUnknown, (x, false, s, s, g, m));
        calls[10] = abi.encodeCall(ch.update, (x, k, false, s, g, m));
        calls[11] = abi.encodeCall(ch.forfeit, (x, k, s, g, m));
        calls[12] = abi.encodeCall(ch.unlock, (x, k, false, s, new IChannels.Claim[](0), 0, new bytes32[](0), m));
        calls[14] = abi.encodeCall(ch.coopCloseDisputed, (x, k, po, g, g));
        calls[13] = abi.encodeCall(ch.redeem, (x, k, false, s, 0, 0, m));
        for (uint256 i = 0; i < calls.length; i++) {
            ch.deposit(c, epoch(), false, 100, 0, 0);
            t.setHook(address(ch), calls[i], true);
            doClose(p(60, 30, 10));
            ok(t.reached() && t.reason() == bytes4(keccak256("Reentered()")), "refused");
            t.setHook(address(0), "", false);
        }
        eq(t.balanceOf(user), 60 * 15, "paid once each");
    }
}
