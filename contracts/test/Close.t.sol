// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";

/// @notice Closing, updating and forfeiting.
contract CloseTest is Base {
    bytes4 private constant BAD_SIGNATURE = bytes4(keccak256("BadSignature()"));

    function doUpdate(uint256[8] memory k, bool payerHigh, IChannels.State memory s) internal {
        IChannels.Signature memory sig = signState(payerHigh, s);
        vm.prank(partyOf(!payerHigh));
        ch.update(c, k, payerHigh, s, sig, none());
    }

    function failUpdate(uint256[8] memory k, bool payerHigh, IChannels.State memory s, bytes4 why) internal {
        IChannels.Signature memory sig = signState(payerHigh, s);
        vm.prank(partyOf(!payerHigh));
        vm.expectRevert(why);
        ch.update(c, k, payerHigh, s, sig, none());
    }

    function doForfeit(uint256[8] memory k, bool closerHigh, IChannels.State memory s) internal {
        IChannels.Signature memory sig = signState(closerHigh, s);
        vm.prank(stranger);
        ch.forfeit(c, k, s, sig, none());
    }

    function failForfeit(uint256[8] memory k, bool closerHigh, IChannels.State memory s, bytes4 why) internal {
        IChannels.Signature memory sig = signState(closerHigh, s);
        vm.expectRevert(why);
        ch.forfeit(c, k, s, sig, none());
    }

    // ---------------------------------------------------------------- close

    function testCloseStoresAndLogs() public {
        openWith(100, 50);
        IChannels.State memory own = paid(7, 30);
        own.root = "r";
        own.locked = 5;
        own.lastExpiry = uint40(START + 12 days);
        own.tip = "t";
        own.unit = 3;
        own.max = 9;
        IChannels.State memory partner = paid(4, 20);
        partner.lastExpiry = uint40(START + 11 days);
        for (uint256 i = 0; i < 2; i++) {
            uint256 snapshot = vm.snapshotState();
            vm.recordLogs();
            uint256[8] memory k = closeBy(i == 1, own, partner);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            eq(logs[0].topics[0], keccak256("Closed(bytes32,uint256,uint256[8])"), "event");
            eq(k[7], 100 | (50 << 96), "deposits");
            uint256 word = uint256(hashOf(k)) | ((START + HOLD) << 216) | (2 << 252);
            eq(ch.words(id), word, "stored");
            eq(keccak256(logs[0].data), keccak256(abi.encode(word, k)), "word and record");
            vm.revertToState(snapshot);
        }
    }

    function testHoldTable() public {
        uint16[9] memory hours_ = [1, 6, 12, 24, 72, 168, 336, 720, 1440];
        for (uint16 i = 0; i < 9; i++) {
            for (uint16 factor = 1; factor <= 8; factor += 7) {
                for (uint256 unknown = 0; unknown < 2; unknown++) {
                    uint256 snapshot = vm.snapshotState();
                    c.terms = factor * 256 + i;
                    id = keccak256(abi.encode(c.token, low, high, c.terms));
                    openWith(1, 1);
                    vm.prank(low);
                    if (unknown == 1) ch.closeUnknown(c, false, empty(), empty(), noSig(), none());
                    else ch.close(c, false, empty(), empty(), noSig(), none());
                    (,,, uint40 t,) = channelOf(id);
                    eq(t, START + uint256(hours_[i]) * 3600 * (unknown == 1 ? factor : 1), "hold");
                    vm.revertToState(snapshot);
                }
            }
        }
    }

    function testCloseNeedsTheCloser() public {
        openWith(100, 50);
        vm.prank(high);
        vm.expectRevert(BAD_SIGNATURE);
        ch.close(c, false, empty(), empty(), noSig(), none());
        vm.prank(stranger);
        vm.expectRevert(BAD_SIGNATURE);
        ch.closeUnknown(c, false, empty(), empty(), noSig(), none());
    }

    function testCloseNeedsAnOpenChannel() public {
        vm.prank(low);
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.close(c, false, empty(), empty(), noSig(), none());
        openWith(100, 50);
        closeBy(false, empty(), empty());
        vm.prank(high);
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.close(c, true, empty(), empty(), noSig(), none());
    }

    function testCloseNeedsThePartnersSignature() public {
        openWith(100, 50);
        IChannels.State memory partner = paid(4, 20);
        IChannels.Signature memory own = signState(false, partner);
        IChannels.Signature memory good = signState(true, partner);
        vm.startPrank(low);
        vm.expectRevert(BAD_SIGNATURE);
        ch.close(c, false, empty(), partner, noSig(), none());
        vm.expectRevert(BAD_SIGNATURE);
        ch.close(c, false, empty(), partner, own, none());
        for (uint256 i = 0; i < 8; i++) {
            IChannels.State memory x = paid(4, 20);
            if (i == 0) x.seq = 5;
            if (i == 1) x.paid = 21;
            if (i == 2) x.root = "r";
            if (i == 3) x.locked = 1;
            if (i == 4) x.lastExpiry = 1;
            if (i == 5) x.tip = "t";
            if (i == 6) x.unit = 1;
            if (i == 7) x.max = 1;
            vm.expectRevert(BAD_SIGNATURE);
            ch.close(c, false, empty(), x, good, none());
        }
        ch.close(c, false, empty(), partner, good, none());
        vm.stopPrank();
    }

    function testEmptyStateIsEmpty() public {
        openWith(100, 50);
        vm.startPrank(low);
        for (uint256 i = 0; i < 14; i++) {
            IChannels.State memory x;
            if (i % 7 == 0) x.paid = 1;
            if (i % 7 == 1) x.root = "r";
            if (i % 7 == 2) x.locked = 1;
            if (i % 7 == 3) x.lastExpiry = 1;
            if (i % 7 == 4) x.tip = "t";
            if (i % 7 == 5) x.unit = 1;
            if (i % 7 == 6) x.max = 1;
            vm.expectRevert(IChannels.WrongState.selector);
            if (i < 7) ch.close(c, false, empty(), x, noSig(), none());
            else ch.close(c, false, x, empty(), noSig(), none());
        }
        vm.stopPrank();
    }

    function testLastExpiryIsCapped() public {
        openWith(100, 50);
        IChannels.State memory own = paid(1, 0);
        own.lastExpiry = type(uint40).max;
        uint256[8] memory k = closeBy(false, own, empty());
        eq(uint40(k[0] >> 8), START + HOLD + 60 days, "a declared lock holds nobody hostage");
    }

    function testCloseByAgent() public {
        openWith(100, 50);
        uint40 deadline = uint40(START + 10);
        for (uint256 i = 0; i < 4; i++) {
            uint256 snapshot = vm.snapshotState();
            bool closerHigh = i % 2 == 1;
            bool unknown = i > 1;
            IChannels.State memory own = paid(7, 30);
            IChannels.State memory partner = paid(4, 20);
            IChannels.Signature memory s = signState(!closerHigh, partner);
            IChannels.Mandate[] memory m = closeMandate(closerHigh, unknown, own, partner, agent, 9, deadline);
            uint256[8] memory k = closing(closerHigh, unknown, own, partner);
            setAgent(k, closerHigh, agent, 9);
            vm.prank(stranger);
            vm.expectRevert(IChannels.WrongAgent.selector);
            ch.close(c, closerHigh, own, partner, s, m);
            vm.startPrank(agent);
            vm.expectRevert(BAD_SIGNATURE);
            if (unknown) ch.close(c, closerHigh, own, partner, s, m);
            else ch.closeUnknown(c, closerHigh, own, partner, s, m);
            vm.warp(deadline);
            vm.expectRevert(IChannels.Expired.selector);
            ch.close(c, closerHigh, own, partner, s, m);
            vm.warp(START);
            vm.expectRevert(BAD_SIGNATURE);
            ch.close(c, closerHigh, paid(7, 29), partner, s, m);
            vm.expectRevert(BAD_SIGNATURE);
            ch.close(c, closerHigh, own, empty(), s, m);
            m[0].fee = 10;
            vm.expectRevert(BAD_SIGNATURE);
            ch.close(c, closerHigh, own, partner, s, m);
            m[0].fee = 9;
            m[0].deadline += 1;
            vm.expectRevert(BAD_SIGNATURE);
            ch.close(c, closerHigh, own, partner, s, m);
            m[0].deadline -= 1;
            m[0].agent = address(0);
            vm.expectRevert(BAD_SIGNATURE);
            ch.close(c, closerHigh, own, partner, s, m);
            m[0].agent = agent;
            if (unknown) ch.closeUnknown(c, closerHigh, own, partner, s, m);
            else ch.close(c, closerHigh, own, partner, s, m);
            vm.stopPrank();
            eq(recordHash(id), hashOf(k), "record names the agent");
            vm.revertToState(snapshot);
        }
    }

    function testCloseByAnyAgent() public {
        openWith(100, 50);
        IChannels.Mandate[] memory m =
            closeMandate(false, false, empty(), empty(), address(0), 9, uint40(START + 10));
        uint256[8] memory k = closing(false, false, empty(), empty());
        setAgent(k, false, stranger, 9);
        vm.warp(START + 9);
        vm.prank(stranger);
        ch.close(c, false, empty(), empty(), noSig(), m);
        eq(recordHash(id), hashOf(k), "whoever came");
    }

    /// @dev A fee paid at once would let a closer hand the channel to its accomplice; it comes out of its share only.
    function testAgentsFeeCannotExceedTheClosersShare() public {
        openWith(100, 0);
        IChannels.State memory own = paid(3, 95);
        IChannels.Mandate[] memory m = closeMandate(false, false, own, empty(), agent, 90, uint40(START + 10));
        uint256[8] memory k = closing(false, false, own, empty());
        setAgent(k, false, agent, 90);
        vm.prank(agent);
        ch.close(c, false, own, empty(), noSig(), m);
        vm.warp(START + HOLD + HOLD / 4);
        ch.settle(c, k);
        eq(smt.balanceOf(agent), 1_000_005, "at most the share");
        eq(smt.balanceOf(high), 1_000_095, "the partner loses nothing");
        eq(smt.balanceOf(low), 1_000_000, "all of its share went to the agent");
    }

    // ---------------------------------------------------------------- update

    function testUpdateOfThePartnersDirection() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        failUpdate(k, true, paid(4, 21), IChannels.WrongState.selector);
        failUpdate(k, true, paid(3, 25), IChannels.WrongState.selector);
        vm.recordLogs();
        doUpdate(k, true, paid(5, 25));
        setSide(k, true, paid(5, 25));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Updated(bytes32,uint256[8])"), "event");
        eq(keccak256(logs[0].data), keccak256(abi.encode(k)), "record");
        eq(recordHash(id), hashOf(k), "stored");
    }

    function testUpdateReplacesWhatTheCloserDeclared() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        failUpdate(k, false, paid(8, 40), IChannels.Contradiction.selector);
        failUpdate(k, false, paid(7, 30), IChannels.WrongState.selector);
        failUpdate(k, false, paid(7, 31), IChannels.WrongState.selector);
        IChannels.State memory s = paid(5, 25);
        s.root = "locks that the closer dropped";
        s.lastExpiry = uint40(START + 30 days);
        doUpdate(k, false, s);
        setSide(k, false, s);
        k[0] += uint256(START + 30 days) << 8;
        eq(recordHash(id), hashOf(k), "replaced, and the locks keep it open");
        failUpdate(k, false, s, IChannels.WrongState.selector);
        failUpdate(k, false, paid(4, 1), IChannels.WrongState.selector);
        failUpdate(k, false, paid(8, 40), IChannels.Contradiction.selector);
        doUpdate(k, false, paid(7, 30));
        setSide(k, false, paid(7, 30));
        eq(recordHash(id), hashOf(k), "a newer one replaces it, a tower's old one cannot come back");
    }

    function testUpdateOfAnEmptyMessage() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), empty());
        IChannels.State memory zero = paid(0, 0);
        failUpdate(k, false, zero, IChannels.WrongState.selector);
    }

    function testUpdateAtTheCap() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), empty());
        IChannels.State memory s = paid(1, 3);
        s.lastExpiry = type(uint40).max;
        doUpdate(k, true, s);
        setSide(k, true, s);
        k[0] += (START + HOLD + 60 days) << 8;
        eq(recordHash(id), hashOf(k), "capped");
        s.seq = 2;
        s.lastExpiry = 5;
        doUpdate(k, true, s);
        setSide(k, true, s);
        eq(recordHash(id), hashOf(k), "never earlier");
    }

    function testUpdateIsThePayeesWish() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        IChannels.State memory s = paid(5, 25);
        IChannels.Signature memory sig = signState(false, s);
        vm.prank(low);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, none());
        vm.prank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, none());
        sig = signState(true, s);
        vm.prank(high);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, true, s, sig, none());
    }

    function testUpdateNeedsThePayersSignature() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        IChannels.State memory s = paid(5, 25);
        IChannels.Signature memory sig = signState(true, s);
        vm.prank(high);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, none());
        vm.prank(low);
        ch.update(c, k, true, s, sig, none());
    }

    function testUpdateByMandate() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        IChannels.State memory s = paid(5, 25);
        bytes32 state = stateHash(false, s);
        uint40 deadline = uint40(START + 10);
        IChannels.Signature memory sig = signState(false, s);
        IChannels.Mandate[] memory m = mandate(true, state, agent, 9, deadline);
        IChannels.Mandate[] memory wrong = mandate(true, 0, agent, 9, deadline);
        IChannels.Mandate[] memory wrongParty = mandate(false, state, agent, 9, deadline);
        vm.prank(stranger);
        vm.expectRevert(IChannels.WrongAgent.selector);
        ch.update(c, k, false, s, sig, m);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, wrong);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, wrongParty);
        m[0].fee = 8;
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, m);
        m[0].fee = 9;
        m[0].deadline += 1;
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, m);
        m[0].deadline -= 1;
        m[0].agent = address(0);
        vm.expectRevert(BAD_SIGNATURE);
        ch.update(c, k, false, s, sig, m);
        m[0].agent = agent;
        vm.warp(deadline);
        vm.expectRevert(IChannels.Expired.selector);
        ch.update(c, k, false, s, sig, m);
        vm.warp(deadline - 1);
        ch.update(c, k, false, s, sig, m);
        vm.stopPrank();
        setSide(k, false, s);
        setAgent(k, true, agent, 9);
        eq(recordHash(id), hashOf(k), "the payee's agent is on record");
    }

    function testUpdateOnlyInTheChallenge() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        vm.warp(START + HOLD);
        failUpdate(k, true, paid(5, 25), IChannels.WrongPhase.selector);
        vm.warp(START + HOLD - 1);
        uint256[8] memory other = k;
        doUpdate(k, true, paid(5, 25));
        setSide(k, true, paid(5, 25));
        other[1] += 1;
        failUpdate(other, true, paid(6, 26), IChannels.WrongClosing.selector);
    }

    function testUpdateNeedsAClose() public {
        openWith(100, 50);
        uint256[8] memory k;
        failUpdate(k, true, paid(5, 25), IChannels.WrongPhase.selector);
    }

    // ---------------------------------------------------------------- unknown closes

    function testUnknownCloseIsFinedNotForfeited() public {
        openWith(100, 50);
        uint256[8] memory k = closeUnknownBy(false, paid(3, 10), paid(4, 20));
        failForfeit(k, false, paid(9, 40), IChannels.NoContradiction.selector);
        doUpdate(k, false, paid(9, 40));
        setSide(k, false, paid(9, 40));
        k[0] |= 4;
        eq(recordHash(id), hashOf(k), "fined");
        failUpdate(k, false, paid(8, 39), IChannels.WrongState.selector);
        doUpdate(k, false, paid(10, 41));
        setSide(k, false, paid(10, 41));
        eq(recordHash(id), hashOf(k), "fined once");
        vm.warp(START + HOLD * 4 + HOLD / 4);
        ch.settle(c, k);
        // low: 100 - 41 + 20 = 79, of which 7 are the fine.
        eq(smt.balanceOf(low), 1_000_072, "low");
        eq(smt.balanceOf(high), 1_000_078, "high");
    }

    function testFineOfAHighCloser() public {
        openWith(100, 50);
        uint256[8] memory k = closeUnknownBy(true, paid(3, 10), paid(4, 20));
        doUpdate(k, true, paid(9, 11));
        setSide(k, true, paid(9, 11));
        k[0] |= 4;
        vm.warp(START + HOLD * 4 + HOLD / 4);
        ch.settle(c, k);
        // high: 50 - 11 + 20 = 59, of which 5 are the fine.
        eq(smt.balanceOf(high), 1_000_054, "high");
        eq(smt.balanceOf(low), 1_000_096, "low");
    }

    function testUnknownReplacementBelowDeclaredIsNotFined() public {
        openWith(100, 50);
        uint256[8] memory k = closeUnknownBy(false, paid(6, 10), paid(4, 20));
        IChannels.State memory s = paid(5, 9);
        doUpdate(k, false, s);
        setSide(k, false, s);
        eq(recordHash(id), hashOf(k), "no fine");
        doUpdate(k, false, paid(7, 11));
        setSide(k, false, paid(7, 11));
        k[0] |= 4;
        eq(recordHash(id), hashOf(k), "fine");
    }

    function testPartnersOwnDirectionIsNeverFined() public {
        openWith(100, 50);
        uint256[8] memory k = closeUnknownBy(false, paid(6, 10), paid(4, 20));
        doUpdate(k, true, paid(40, 21));
        setSide(k, true, paid(40, 21));
        eq(recordHash(id), hashOf(k), "no fine");
    }

    function testUnknownCloserStillForfeitsForLies() public {
        openWith(100, 50);
        uint256[8] memory k = closeUnknownBy(false, paid(6, 10), empty());
        uint256 snapshot = vm.snapshotState();
        doForfeit(k, false, paid(5, 11));
        vm.revertToState(snapshot);
        doForfeit(k, false, paid(6, 9));
    }

    // ---------------------------------------------------------------- forfeit

    /// @dev Every pair of (declared, shown) around equality, both closers: the outcome is as written in the rules.
    function testForfeitTruthTable() public {
        openWith(100, 50);
        uint256 punished = 0;
        for (uint256 i = 0; i < 36; i++) {
            bool closerHigh = i % 2 == 1;
            bool unknown = (i / 2) % 2 == 1;
            uint64 seq = uint64(4 + (i / 4) % 3);
            uint96 amount = uint96(9 + i / 12);
            uint256 snapshot = vm.snapshotState();
            uint256[8] memory k = unknown
                ? closeUnknownBy(closerHigh, paid(5, 10), empty())
                : closeBy(closerHigh, paid(5, 10), empty());
            bool lie = seq > 5 ? !unknown : seq == 5 ? amount != 10 : amount > 10;
            if (lie) {
                doForfeit(k, closerHigh, paid(seq, amount));
                eq(smt.balanceOf(partyOf(!closerHigh)), 1_000_150, "the victim has both deposits");
                eq(smt.balanceOf(partyOf(closerHigh)), 1_000_000, "the closer nothing");
                eq(recordHash(id), 0, "record cleared");
                (int96 l, int96 h, uint32 e, uint40 t, uint8 phase) = channelOf(id);
                ok(l == 0 && h == 0 && e == 1 && t == 0 && phase == 0, "next epoch");
                punished++;
            } else {
                failForfeit(k, closerHigh, paid(seq, amount), IChannels.NoContradiction.selector);
            }
            vm.revertToState(snapshot);
        }
        eq(punished, 6 + 8 + 4, "of 36");
    }

    function testForfeitLogs() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(5, 10), empty());
        vm.recordLogs();
        doForfeit(k, false, paid(6, 11));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Forfeited(bytes32,address,uint256)"), "event");
        eq(keccak256(logs[0].data), keccak256(abi.encode(high, 150)), "victim and amount");
    }

    /// @dev Nothing but the closer's own signature accuses the closer.
    function testForfeitNeedsTheClosersSignature() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(5, 10), empty());
        IChannels.State memory s = paid(6, 11);
        IChannels.Signature memory sig = signState(true, s);
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
        sig = sign(highKey, stateHash(false, s));
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
        sig = sign(lowKey, stateHashAt(id, 1, false, s));
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
        sig = sign(lowKey, stateHashAt(keccak256("other channel"), 0, false, s));
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
        sig = compact(lowKey, domain("SmartMesh Channels", address(smt)), stateHash(false, s));
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
        sig = signState(false, paid(6, 12));
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
    }

    /// @dev The partner's own higher message accuses nobody.
    function testPartnersMessageForfeitsNothing() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(5, 10), paid(2, 5));
        IChannels.State memory s = paid(6, 11);
        IChannels.Signature memory sig = signState(true, s);
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, none());
    }

    function testForfeitOnlyInTheChallenge() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(5, 10), empty());
        vm.warp(START + HOLD);
        failForfeit(k, false, paid(6, 11), IChannels.WrongPhase.selector);
        vm.warp(START + HOLD + 1);
        failForfeit(k, false, paid(6, 11), IChannels.WrongPhase.selector);
        vm.warp(START + HOLD - 1);
        uint256[8] memory wrong = k;
        wrong[0] += 2;
        failForfeit(wrong, false, paid(6, 11), IChannels.WrongClosing.selector);
        wrong[0] -= 2;
        doForfeit(k, false, paid(6, 11));
        failForfeit(k, false, paid(6, 11), IChannels.WrongPhase.selector);
    }

    /// @dev Who chose an older message of the closer gave up the comparison with what was declared, but not the rest.
    function testForfeitAfterReplacement() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), empty());
        doUpdate(k, false, paid(5, 25));
        setSide(k, false, paid(5, 25));
        failForfeit(k, false, paid(6, 28), IChannels.NoContradiction.selector);
        failForfeit(k, false, paid(7, 30), IChannels.NoContradiction.selector);
        failForfeit(k, false, paid(4, 99), IChannels.NoContradiction.selector);
        doForfeit(k, false, paid(8, 1));
    }

    function testSeqZeroAccusesNobody() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, empty(), empty());
        failForfeit(k, false, paid(0, 1), IChannels.NoContradiction.selector);
    }

    function testTowersFeeComesFromTheVictim() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(5, 10), empty());
        IChannels.State memory s = paid(6, 11);
        IChannels.Signature memory sig = signState(false, s);
        IChannels.Mandate[] memory m = mandate(true, 0, agent, 40, uint40(START + 100));
        IChannels.Mandate[] memory byCheat = mandate(false, 0, agent, 40, uint40(START + 100));
        vm.prank(stranger);
        vm.expectRevert(IChannels.WrongAgent.selector);
        ch.forfeit(c, k, s, sig, m);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.forfeit(c, k, s, sig, byCheat);
        ch.forfeit(c, k, s, sig, m);
        vm.stopPrank();
        eq(smt.balanceOf(agent), 1_000_040, "tower");
        eq(smt.balanceOf(high), 1_000_110, "victim");
    }

    function testTowersFeeIsAtMostTheTotal() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(5, 10), empty());
        IChannels.State memory s = paid(6, 11);
        IChannels.Signature memory sig = signState(false, s);
        IChannels.Mandate[] memory m = mandate(true, 0, address(0), 4000, uint40(START + 100));
        vm.prank(stranger);
        ch.forfeit(c, k, s, sig, m);
        eq(smt.balanceOf(stranger), 150, "all, no more");
    }

    /// @dev The closer's own agent earns nothing from a forfeited close.
    function testForfeitPaysNoClosersAgent() public {
        openWith(100, 50);
        IChannels.State memory own = paid(5, 10);
        IChannels.Mandate[] memory m = closeMandate(false, false, own, empty(), agent, 9, uint40(START + 10));
        uint256[8] memory k = closing(false, false, own, empty());
        setAgent(k, false, agent, 9);
        vm.prank(agent);
        ch.close(c, false, own, empty(), noSig(), m);
        doForfeit(k, false, paid(6, 11));
        eq(smt.balanceOf(agent), 1_000_000, "nothing");
        eq(smt.balanceOf(high), 1_000_150, "all to the victim");
    }

    /// @dev No message an honest party can have signed accuses its own close: seq and paid rise together.
    function testFuzzNoFalseAccusation(uint64 seq, uint96 amount, uint64 olderSeq, uint96 olderAmount, bool closerHigh)
        public
    {
        seq = uint64(2 + seq % 1e9);
        olderSeq = 1 + olderSeq % (seq - 1);
        amount = amount % 150;
        olderAmount = olderAmount % (amount + 1);
        openWith(100, 50);
        uint256[8] memory k = closeBy(closerHigh, paid(seq, amount), empty());
        failForfeit(k, closerHigh, paid(olderSeq, olderAmount), IChannels.NoContradiction.selector);
        failForfeit(k, closerHigh, paid(seq, amount), IChannels.NoContradiction.selector);
    }

    /// @dev Whoever declares less than it signed is caught by that message, whatever seq it invents.
    function testFuzzEveryUnderstatementIsPunished(uint64 declared, uint64 seq, uint96 amount, uint96 less) public {
        seq = uint64(1 + seq % 1e9);
        amount = 1 + amount % 149;
        less = less % amount;
        if (declared == 0) less = 0;
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(declared, less), empty());
        doForfeit(k, false, paid(seq, amount));
    }
}
