// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {Plain, FeeOnTransfer, NoReturn, Moody, Hooked, Liar, Inflating} from "./support/Tokens.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";

contract DepositTest is Base {
    bytes4 private constant BAD_AMOUNT = bytes4(keccak256("BadAmount()"));
    bytes4 private constant TOKEN_FAILED = bytes4(keccak256("TokenFailed()"));
    bytes4 private constant BAD_SIGNATURE = bytes4(keccak256("BadSignature()"));

    function deposits() internal view returns (int96 l, int96 h) {
        (l, h,,,) = channelOf(id);
    }

    function data(uint32 e, bool isHigh) internal view returns (bytes memory) {
        return abi.encodePacked(low, high, TERMS, e, isHigh);
    }

    function testDepositOpensAndTopsUp() public {
        ch.deposit(c, 0, false, 100, 0, 0);
        (int96 l, int96 h, uint32 e, uint40 t, uint8 phase) = channelOf(id);
        ok(l == 100 && h == 0 && e == 0 && t == 0 && phase == 1, "opened");
        ch.deposit(c, 0, true, 7, 0, 0);
        ch.deposit(c, 0, false, 5, 0, 0);
        (l, h) = deposits();
        ok(l == 105 && h == 7, "topped up");
        eq(smt.balanceOf(address(ch)), 112, "held");
    }

    function testWordLayout() public {
        ch.deposit(c, 0, false, 0xaa, 0, 0);
        ch.deposit(c, 0, true, 0xbb, 0, 0);
        bytes32 slot = keccak256(abi.encode(id, uint256(0)));
        eq(uint256(vm.load(address(ch), slot)), 0xaa | (0xbb << 96) | (1 << 252), "word 0");
    }

    function testOpenedIsEmittedOnceOrWithLocators() public {
        vm.recordLogs();
        ch.deposit(c, 0, false, 1, "l", "h");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 2, "transfer, opened");
        eq(
            logs[1].topics[0], keccak256("Opened(bytes32,bytes32,bytes32,address,address,address,uint16,uint256)"), "opened"
        );
        eq(logs[1].topics[1], id, "id");
        eq(logs[1].topics[2], "l", "locator low");
        eq(logs[1].topics[3], "h", "locator high");
        eq(keccak256(logs[1].data), keccak256(abi.encode(smt, low, high, TERMS, 1 | (1 << 252))), "data");
        bytes32 deposited = keccak256("Deposited(bytes32,uint256)");
        ch.deposit(c, 0, false, 1, 0, 0);
        logs = vm.getRecordedLogs();
        ok(logs.length == 2 && logs[1].topics[0] == deposited, "no locators, no opened");
        eq(keccak256(logs[1].data), keccak256(abi.encode(2 | (1 << 252))), "the word");
        ch.deposit(c, 0, false, 1, 0, "h");
        logs = vm.getRecordedLogs();
        ok(logs.length == 2 && logs[1].topics[0] != deposited, "one locator is enough");
    }

    function testOpenedWithoutLocators() public {
        vm.recordLogs();
        ch.deposit(c, 0, false, 1, 0, 0);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        ok(logs.length == 2 && logs[1].topics[0] != keccak256("Deposited(bytes32,uint256)"), "first deposit");
    }

    function testPartiesAreOrderedAndNotZero() public {
        IChannels.Channel memory bad = IChannels.Channel(c.token, high, low, TERMS);
        vm.expectRevert(IChannels.BadParties.selector);
        ch.deposit(bad, 0, false, 1, 0, 0);
        bad = IChannels.Channel(c.token, low, low, TERMS);
        vm.expectRevert(IChannels.BadParties.selector);
        ch.deposit(bad, 0, false, 1, 0, 0);
        bad = IChannels.Channel(c.token, address(0), high, TERMS);
        vm.expectRevert(IChannels.BadParties.selector);
        ch.deposit(bad, 0, false, 1, 0, 0);
    }

    function testTermsOutsideTheTable() public {
        uint16[3] memory bad = [uint16(4 * 256 + 9), uint16(5), uint16(9 * 256 + 5)];
        for (uint256 i = 0; i < bad.length; i++) {
            IChannels.Channel memory x = IChannels.Channel(c.token, low, high, bad[i]);
            vm.expectRevert(IChannels.BadParties.selector);
            ch.deposit(x, 0, false, 1, 0, 0);
        }
        uint16[3] memory good = [uint16(256 + 8), uint16(256), uint16(8 * 256)];
        for (uint256 i = 0; i < good.length; i++) {
            ch.deposit(IChannels.Channel(c.token, low, high, good[i]), 0, false, 1, 0, 0);
        }
    }

    function testTermsMakeAnotherChannel() public {
        ch.deposit(c, 0, false, 10, 0, 0);
        ch.deposit(IChannels.Channel(c.token, low, high, TERMS - 1), 0, false, 20, 0, 0);
        (int96 l,) = deposits();
        ok(l == 10, "squatting with other terms touches nothing");
    }

    function testEpochMustMatch() public {
        vm.expectRevert(IChannels.WrongEpoch.selector);
        ch.deposit(c, 1, false, 1, 0, 0);
    }

    function testLastEpochTakesNoDeposit() public {
        bytes32 slot = keccak256(abi.encode(id, uint256(0)));
        vm.store(address(ch), slot, bytes32(uint256(2 ** 24 - 1) << 192));
        vm.expectRevert(IChannels.WrongEpoch.selector);
        ch.deposit(c, 2 ** 24 - 1, false, 1, 0, 0);
        vm.store(address(ch), slot, bytes32(uint256(2 ** 24 - 2) << 192));
        ch.deposit(c, 2 ** 24 - 2, false, 1, 0, 0);
    }

    function testNoDepositWhileClosing() public {
        openWith(10, 10);
        closeBy(false, empty(), empty());
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.deposit(c, 0, false, 1, 0, 0);
    }

    function testZeroDeposit() public {
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, false, 0, 0, 0);
    }

    function testDepositLimits() public {
        Plain t = new Plain();
        useToken(address(t));
        t.mint(address(this), 2 ** 97);
        t.approve(address(ch), type(uint256).max);
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, false, 2 ** 95, 0, 0);
        ch.deposit(c, 0, false, 2 ** 95 - 1, 0, 0);
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, false, 1, 0, 0);
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, true, 1, 0, 0);
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, true, 2 ** 95 - 1, 0, 0);
    }

    /// @dev The sum could be small although one side is over its limit, when the other is negative.
    function testOneSideOverTheLimit() public {
        Plain t = new Plain();
        useToken(address(t));
        t.mint(address(this), 2 ** 97);
        t.approve(address(ch), type(uint256).max);
        ch.deposit(c, 0, true, 100, 0, 0);
        IChannels.Withdrawal memory w =
            IChannels.Withdrawal(low, 100, low, address(0), 0, uint40(block.timestamp + 1));
        bytes32 h = withdrawHash(w);
        ch.withdraw(c, w, sign(lowKey, h), sign(highKey, h));
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, true, 2 ** 95 - 100, 0, 0);
        ch.deposit(c, 0, true, 2 ** 95 - 101, 0, 0);
        (int96 l, int96 hi) = deposits();
        ok(l == -100 && hi == 2 ** 95 - 1, "at the limit");
    }

    /// @dev A measured change that no field holds: as a signed number it would be a withdrawal.
    function testOverflowingMeasure() public {
        useToken(address(new Inflating()));
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, false, 100, 0, 0);
        useToken(address(new Inflating()));
        vm.expectRevert(BAD_AMOUNT);
        ch.deposit(c, 0, true, 0, 0, 0);
    }

    // ---------------------------------------------------------------- by the token's callback

    function testCallbackOpensAndTopsUp() public {
        vm.recordLogs();
        vm.prank(user);
        smt.depositTo(address(ch), 10, abi.encodePacked(data(0, true), bytes32("l"), bytes32("h")));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[1].topics[2], "l", "locator low");
        eq(logs[1].topics[3], "h", "locator high");
        eq(keccak256(logs[1].data), keccak256(abi.encode(smt, low, high, TERMS, (10 << 96) | (1 << 252))), "data");
        vm.prank(user);
        smt.depositTo(address(ch), 5, data(0, false));
        (int96 l, int96 h) = deposits();
        ok(l == 5 && h == 10, "credited");
        eq(smt.balanceOf(user), 1_000_000 - 15, "debited");
    }

    function testCallbackNamesAnEpoch() public {
        vm.expectRevert(IChannels.WrongEpoch.selector);
        smt.depositTo(address(ch), 10, data(1, true));
    }

    function testCallbackDataOfWrongLength() public {
        vm.expectRevert(IChannels.WrongState.selector);
        smt.depositTo(address(ch), 10, abi.encodePacked(data(0, true), bytes32("l")));
        vm.expectRevert(IChannels.WrongState.selector);
        smt.depositTo(address(ch), 10, abi.encodePacked(low, high, TERMS, uint32(0)));
    }

    /// @dev The theft found in an earlier contract: its callback believed any caller about whose tokens to take.
    function testUnauthenticatedCallbackTakesNothing() public {
        vm.prank(user);
        smt.approve(address(ch), type(uint256).max);
        bytes memory d = data(0, false);
        vm.prank(stranger);
        vm.expectRevert();
        ch.onApprovalReceived(user, 1000, d);
        Hooked evil = new Hooked();
        evil.mint(user, 1000);
        vm.prank(user);
        evil.approve(address(ch), 1000);
        evil.callback(address(ch), user, 1000, d);
        eq(smt.balanceOf(user), 1_000_000, "the victim's SMT stay");
        (int96 l,) = deposits();
        ok(l == 0, "no credit in SMT");
        useToken(address(evil));
        (l,) = deposits();
        ok(l == 1000, "only the calling token's channel was credited");
    }

    // ---------------------------------------------------------------- by an owner's signed order

    IChannels.Signature private ownerSig;

    function order(uint96 amount, uint96 fee, address agent_, uint256 nonce, bool isHigh)
        internal
        returns (IChannels.DepositOrder memory o)
    {
        uint40 deadline = uint40(START + 100);
        bytes32 h = keccak256(
            bytes.concat(
                abi.encode(
                    keccak256(
                        "Deposit(bytes32 channel,uint32 epoch,bool high,bytes32 locatorLow,bytes32 locatorHigh,address owner,uint96 amount,address agent,uint96 fee,uint256 nonce,uint40 deadline)"
                    ),
                    id,
                    epoch(),
                    isHigh,
                    bytes32("l"),
                    bytes32("h")
                ),
                abi.encode(user, amount, agent_, fee, nonce, deadline)
            )
        );
        o = IChannels.DepositOrder(user, amount, agent_, fee, nonce, deadline);
        ownerSig = sign(USER_KEY, h);
    }

    function approveUser() internal {
        vm.prank(user);
        smt.approve(address(ch), type(uint256).max);
    }

    function testDepositFor() public {
        approveUser();
        IChannels.DepositOrder memory o = order(100, 7, agent, 300, true);
        vm.prank(agent);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        (int96 l, int96 h) = deposits();
        ok(l == 0 && h == 93, "credited less the fee");
        eq(smt.balanceOf(agent), 1_000_007, "fee");
        eq(smt.balanceOf(user), 999_900, "debited");
        eq(ch.nonceBitmap(user, 1), 1 << 44, "nonce 300 is bit 44 of word 1");
        vm.prank(agent);
        vm.expectRevert(IChannels.NonceUsed.selector);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o = order(100, 7, address(0), 301, true);
        vm.prank(stranger);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        eq(smt.balanceOf(stranger), 7, "anybody may be the agent");
    }

    function testDepositForChecksEverything() public {
        approveUser();
        IChannels.DepositOrder memory o = order(100, 7, agent, 0, true);
        vm.prank(stranger);
        vm.expectRevert(IChannels.WrongAgent.selector);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, false, "l", "h", o, ownerSig);
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 1, true, "l", "h", o, ownerSig);
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "x", "h", o, ownerSig);
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "x", o, ownerSig);
        o.amount = 101;
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o.amount = 100;
        o.fee = 8;
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o.fee = 7;
        o.nonce = 1;
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o.nonce = 0;
        o.deadline += 1;
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o.deadline -= 1;
        o.agent = address(0);
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o.agent = agent;
        o.owner = low;
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o.owner = user;
        IChannels.Channel memory other = IChannels.Channel(c.token, low, high, TERMS + 1);
        vm.expectRevert(BAD_SIGNATURE);
        ch.depositFor(other, 0, true, "l", "h", o, ownerSig);
        vm.warp(START + 100);
        vm.expectRevert(IChannels.Expired.selector);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        vm.warp(START + 99);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        vm.stopPrank();
    }

    function testDepositForFeeBelowAmount() public {
        approveUser();
        IChannels.DepositOrder memory o = order(7, 7, agent, 0, true);
        vm.prank(agent);
        vm.expectRevert(BAD_AMOUNT);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
        o = order(8, 7, agent, 0, true);
        vm.prank(agent);
        ch.depositFor(c, 0, true, "l", "h", o, ownerSig);
    }

    // ---------------------------------------------------------------- hostile tokens

    function testFeeOnTransferCreditsWhatArrived() public {
        FeeOnTransfer t = new FeeOnTransfer();
        useToken(address(t));
        t.mint(address(this), 100);
        t.approve(address(ch), 100);
        ch.deposit(c, 0, false, 100, 0, 0);
        (int96 l,) = deposits();
        ok(l == 90, "measured");
    }

    function testNoReturnToken() public {
        NoReturn t = new NoReturn();
        useToken(address(t));
        t.mint(address(this), 100);
        t.approve(address(ch), 100);
        ch.deposit(c, 0, false, 100, 0, 0);
        (int96 l,) = deposits();
        ok(l == 100, "accepted");
        IChannels.Payouts memory p =
            IChannels.Payouts(60, 40, low, high, address(0), 0, uint40(block.timestamp + 1));
        bytes32 h = payoutsHash(p);
        ch.coopClose(c, p, sign(lowKey, h), sign(highKey, h));
        eq(t.balanceOf(low), 60, "paid");
        eq(t.balanceOf(high), 40, "paid");
    }

    function testTokenThatRefusesADeposit() public {
        Moody t = new Moody();
        useToken(address(t));
        t.mint(address(this), 100);
        for (uint256 i = 1; i <= 6; i++) {
            t.setMood(Moody.Mood(i));
            (bool done,) = address(ch).call{gas: 3_000_000}(abi.encodeCall(ch.deposit, (c, 0, false, 100, 0, 0)));
            ok(!done, "no credit without a word of success");
        }
    }

    function testTokenThatSaysYesAndMovesNothing() public {
        Liar t = new Liar();
        useToken(address(t));
        vm.expectRevert(TOKEN_FAILED);
        ch.deposit(c, 0, false, 100, 0, 0);
    }

    function testNoTokenAtAll() public {
        useToken(stranger);
        vm.expectRevert(TOKEN_FAILED);
        ch.deposit(c, 0, false, 100, 0, 0);
    }

    /// @dev A hook that deposits again inside a deposit would be counted twice: once itself, once in the outer measure.
    function testReentrantDepositIsRefused() public {
        Hooked t = new Hooked();
        useToken(address(t));
        t.mint(address(this), 100);
        t.approve(address(ch), 100);
        t.mint(address(t), 100);
        bytes memory again = abi.encodeCall(ch.onApprovalReceived, (address(t), 50, data(0, true)));
        for (uint256 i = 0; i < 2; i++) {
            t.setHook(address(ch), again, i == 0);
            ch.deposit(c, 0, false, 10, 0, 0);
            ok(t.reached() && t.reason() == bytes4(keccak256("Reentered()")), "refused");
        }
        (int96 l, int96 h) = deposits();
        ok(l == 20 && h == 0, "counted once");
    }
}
