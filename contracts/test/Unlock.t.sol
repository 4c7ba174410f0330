// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {Moody, Blacklisting, Hooked} from "./support/Tokens.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";

/// @notice Unlocking, voiding, ticks and settling.
contract UnlockTest is Base {
    bytes4 private constant BAD_SIGNATURE = bytes4(keccak256("BadSignature()"));
    uint40 private constant END = uint40(START + HOLD);
    uint40 private constant EXPIRY = uint40(START + HOLD + 2 days);

    /// @dev The tree of the test at hand; claims may be spoilt afterwards.
    IChannels.Claim[] private tree;

    function one(IChannels.Claim memory l) internal pure returns (IChannels.Claim[] memory a) {
        a = new IChannels.Claim[](1);
        a[0] = l;
    }

    /// @dev `n` hash locks of 1, 2, 3... units, the root and total of which go into the state.
    function locks(uint256 n, IChannels.State memory s) internal returns (IChannels.Claim[] memory a) {
        a = new IChannels.Claim[](n);
        delete tree;
        s.locked = 0;
        for (uint256 i = 0; i < n; i++) {
            a[i] = lockClaim(uint8(i), uint96(i + 1), EXPIRY, keccak256(abi.encode(i)));
            tree.push(a[i]);
            s.locked += uint96(i + 1);
        }
        s.root = buildTree(a);
        s.lastExpiry = EXPIRY;
    }

    function single(IChannels.Claim memory l, IChannels.State memory s) internal {
        delete tree;
        tree.push(l);
        s.root = leafOf(l);
        s.locked = l.amount;
    }

    function proofFor(IChannels.Claim[] memory a) internal view returns (bytes32[] memory) {
        uint256 picked;
        for (uint256 i = 0; i < a.length; i++) {
            picked |= 1 << a[i].index;
        }
        return proofOf(tree, picked);
    }

    function doUnlock(uint256[8] memory k, bool payerHigh, IChannels.State memory s, IChannels.Claim[] memory a)
        internal
    {
        bytes32[] memory proof = proofFor(a);
        vm.prank(stranger);
        ch.unlock(c, k, payerHigh, s, a, depthOf(tree.length), proof, none());
        uint256 side = k[payerHigh ? 2 : 1];
        for (uint256 i = 0; i < a.length; i++) {
            side |= 1 << (192 + a[i].index);
            side += uint256(a[i].amount) << 64;
        }
        k[payerHigh ? 2 : 1] = side;
        eq(recordHash(id), hashOf(k), "record");
    }

    function failUnlock(
        uint256[8] memory k,
        bool payerHigh,
        IChannels.State memory s,
        IChannels.Claim memory l,
        bytes4 why
    ) internal {
        failWith(k, payerHigh, s, one(l), depthOf(tree.length), proofFor(one(l)), why);
    }

    function failWith(
        uint256[8] memory k,
        bool payerHigh,
        IChannels.State memory s,
        IChannels.Claim[] memory a,
        uint256 depth,
        bytes32[] memory proof,
        bytes4 why
    ) internal {
        vm.expectRevert(why);
        ch.unlock(c, k, payerHigh, s, a, depth, proof, none());
    }

    // ---------------------------------------------------------------- unlock

    function testUnlockOneAndMany() public {
        for (uint256 n = 1; n <= 64; n = n * 2 + 1) {
            for (uint256 payerHigh = 0; payerHigh < 2; payerHigh++) {
                uint256 snapshot = vm.snapshotState();
                openWith(5000, 5000);
                IChannels.State memory s = paid(3, 10);
                IChannels.Claim[] memory a = locks(n, s);
                uint256[8] memory k =
                    payerHigh == 1 ? closeBy(false, empty(), s) : closeBy(true, empty(), s);
                vm.warp(END);
                vm.recordLogs();
                doUnlock(k, payerHigh == 1, s, one(a[n - 1]));
                Vm.Log[] memory logs = vm.getRecordedLogs();
                eq(logs[0].topics[0], keccak256("Unlocked(bytes32,bool,uint256)"), "event");
                eq(keccak256(logs[0].data), keccak256(abi.encode(payerHigh == 1, k[payerHigh + 1])), "logged");
                failUnlock(k, payerHigh == 1, s, a[n - 1], IChannels.BadLeaf.selector);
                IChannels.Claim[] memory rest = new IChannels.Claim[](n - 1);
                for (uint256 i = 0; i + 1 < n; i++) {
                    rest[i] = a[i];
                }
                if (n > 1) doUnlock(k, payerHigh == 1, s, rest);
                vm.warp(EXPIRY + HOLD / 4);
                ch.settle(c, k);
                uint256 moved = 10 + n * (n + 1) / 2;
                eq(smt.balanceOf(partyOf(payerHigh == 0)), 1_005_000 + moved, "payee");
                vm.revertToState(snapshot);
            }
        }
    }

    function testSixtyFourLeavesAtMost() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(65, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        failUnlock(k, false, s, a[0], IChannels.BadLeaf.selector);
        failUnlock(k, false, s, a[64], IChannels.BadLeaf.selector);
    }

    /// @dev A leaf under a second index would have a second bit.
    function testIndexMustFitTheDepth() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(2, s);
        s.locked = 90;
        uint256[8] memory k = closeBy(true, empty(), s);
        bytes32[] memory proof = proofOf(tree, 1);
        vm.warp(END);
        uint8[4] memory wrong = [2, 1, 64, 255];
        for (uint256 i = 0; i < 4; i++) {
            a[0].index = wrong[i];
            failWith(k, false, s, one(a[0]), 1, proof, IChannels.BadLeaf.selector);
        }
        a[0].index = 0;
        failWith(k, false, s, one(a[0]), 0, proof, IChannels.BadLeaf.selector);
        failWith(k, false, s, one(a[0]), 0, new bytes32[](0), IChannels.BadLeaf.selector);
        vm.expectRevert();
        ch.unlock(c, k, false, s, one(a[0]), 2, proof, none());
        failWith(k, false, s, new IChannels.Claim[](0), 1, proof, IChannels.BadLeaf.selector);
        doUnlock(k, false, s, a);
    }

    function testProofMustBeUsedUp() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(2, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        failWith(k, false, s, a, 1, new bytes32[](1), IChannels.BadLeaf.selector);
        doUnlock(k, false, s, a);
    }

    function testClaimsRiseByIndex() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(4, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        (a[0], a[1]) = (a[1], a[0]);
        failWith(k, false, s, a, 2, new bytes32[](0), IChannels.BadLeaf.selector);
        a[0] = a[1];
        failWith(k, false, s, a, 2, new bytes32[](0), IChannels.BadLeaf.selector);
    }

    /// @dev Any choice of leaves of any tree, proved together.
    function testFuzzManyLeavesAtOnce(uint8 size, uint64 picked) public {
        uint256 n = 1 + size % 64;
        picked = uint64(picked & ((1 << n) - 1));
        if (picked == 0) picked = 1;
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(n, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        IChannels.Claim[] memory chosen = new IChannels.Claim[](n);
        uint256 m = 0;
        for (uint256 i = 0; i < n; i++) {
            if ((picked >> i) & 1 == 1) chosen[m++] = a[i];
        }
        assembly {
            mstore(chosen, m)
        }
        doUnlock(k, false, s, chosen);
        failUnlock(k, false, s, chosen[m - 1], IChannels.BadLeaf.selector);
    }

    function testUnlockChecksTheLeaf() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(3, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        IChannels.Claim memory l = a[1];
        l.id += 1;
        failUnlock(k, false, s, l, IChannels.BadLeaf.selector);
        l.id -= 1;
        l.amount += 1;
        failUnlock(k, false, s, l, IChannels.BadLeaf.selector);
        l.amount -= 1;
        l.expiry += 1;
        failUnlock(k, false, s, l, IChannels.BadLeaf.selector);
        l.expiry -= 1;
        bytes memory condition = l.condition;
        bytes memory witness = l.witness;
        (l.condition, l.witness) = (a[0].condition, a[0].witness);
        failUnlock(k, false, s, l, IChannels.BadLeaf.selector);
        (l.condition, l.witness) = (condition, witness);
        bytes32[] memory proof = proofFor(one(l));
        proof[0] = 0;
        failWith(k, false, s, one(l), 2, proof, IChannels.BadLeaf.selector);
        l.witness = a[0].witness;
        failUnlock(k, false, s, l, IChannels.NotFulfilled.selector);
        l.witness = witness;
        doUnlock(k, false, s, one(l));
    }

    /// @dev An inner node has 64 bytes and a leaf 160; no claim can present one as the other.
    function testNodeIsNoLeaf() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(4, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        // The parent of leaves 0 and 1 as a leaf of a tree one level lower: no claim's leaf hash is that node.
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = levels(a)[1][1];
        failWith(k, false, s, one(a[0]), 1, proof, IChannels.BadLeaf.selector);
        failWith(k, false, s, one(a[1]), 1, proof, IChannels.BadLeaf.selector);
    }

    function testUnlockIsBoundToTheMessage() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(2, s);
        uint256[8] memory k = closeBy(true, paid(1, 1), s);
        vm.warp(END);
        failUnlock(k, true, s, a[0], IChannels.WrongState.selector);
        s.locked += 1;
        failUnlock(k, false, s, a[0], IChannels.WrongState.selector);
        s.locked -= 1;
        uint256 head = k[0];
        k[0] += 2;
        failUnlock(k, false, s, a[0], IChannels.WrongClosing.selector);
        k[0] = head;
        doUnlock(k, false, s, a);
    }

    function testLeavesCannotExceedTheLockedTotal() public {
        openWith(5000, 5000);
        for (uint256 i = 0; i < 2; i++) {
            bool isHigh = i == 1;
            uint256 snapshot = vm.snapshotState();
            IChannels.State memory s = paid(3, 10);
            IChannels.Claim[] memory a = locks(3, s);
            s.locked = 5;
            s.tip = sha256(abi.encode(bytes32("seed")));
            s.unit = 100;
            s.max = 1;
            uint256[8] memory k = closeBy(!isHigh, empty(), s);
            vm.warp(END);
            ch.redeem(c, k, isHigh, s, "seed", 1, none());
            k[isHigh ? 2 : 1] += uint256(100) << 64;
            k[0] += 1 << (isHigh ? 144 : 112);
            doUnlock(k, isHigh, s, one(a[2]));
            failUnlock(k, isHigh, s, a[2], IChannels.BadLeaf.selector);
            doUnlock(k, isHigh, s, one(a[1]));
            failUnlock(k, isHigh, s, a[0], IChannels.BadLeaf.selector);
            vm.revertToState(snapshot);
            vm.warp(START);
        }
    }

    function testUnlockPhaseBoundaries() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(1, s);
        bytes32 secret = abi.decode(a[0].witness, (bytes32));
        conditions.registerSecret(secret);
        a[0].witness = "";
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END - 1);
        failUnlock(k, false, s, a[0], IChannels.WrongPhase.selector);
        vm.warp(EXPIRY + HOLD / 4);
        failUnlock(k, false, s, a[0], IChannels.WrongPhase.selector);
        vm.warp(EXPIRY + HOLD / 4 - 1);
        uint256 snapshot = vm.snapshotState();
        uint256 side = k[1];
        doUnlock(k, false, s, a);
        k[1] = side;
        vm.revertToState(snapshot);
        vm.warp(END);
        doUnlock(k, false, s, a);
    }

    function testLeafExpiryBoundaries() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(1, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(EXPIRY);
        failUnlock(k, false, s, a[0], IChannels.NotFulfilled.selector);
        vm.warp(EXPIRY + 1);
        failUnlock(k, false, s, a[0], IChannels.NotFulfilled.selector);
        vm.warp(EXPIRY - 1);
        doUnlock(k, false, s, a);
    }

    function testRegisteredSecretBoundaries() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(1, s);
        bytes32 secret = abi.decode(a[0].witness, (bytes32));
        a[0].witness = "";
        uint256[8] memory k = closeBy(true, empty(), s);
        for (uint256 i = 0; i < 3; i++) {
            uint256 snapshot = vm.snapshotState();
            vm.warp(EXPIRY - 1 + i);
            conditions.registerSecret(secret);
            vm.warp(EXPIRY + 1 hours);
            uint256 side = k[1];
            if (i == 0) doUnlock(k, false, s, a);
            else failUnlock(k, false, s, a[0], IChannels.NotFulfilled.selector);
            k[1] = side;
            vm.revertToState(snapshot);
        }
        vm.warp(END);
        failUnlock(k, false, s, a[0], IChannels.NotFulfilled.selector);
    }

    /// @dev A secret learnt in a challenge that outlasts the lock is registered in time and claimed after it.
    function testLockThatExpiresInTheChallenge() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim memory l = lockClaim(0, 77, uint40(START + 1 days), "x");
        single(l, s);
        s.lastExpiry = l.expiry;
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(START + 1 days - 1);
        conditions.registerSecret("x");
        vm.warp(END);
        failUnlock(k, false, s, l, IChannels.NotFulfilled.selector);
        l.witness = "";
        doUnlock(k, false, s, one(l));
    }

    function testUnlockByMandate() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(1, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        IChannels.Mandate[] memory m = mandate(true, 0, agent, 9, uint40(END + 10));
        IChannels.Mandate[] memory byPayer = mandate(false, 0, agent, 9, uint40(END + 10));
        IChannels.Mandate[] memory forState = mandate(true, stateHash(false, s), agent, 9, uint40(END + 10));
        vm.warp(END);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        ch.unlock(c, k, false, s, a, 0, new bytes32[](0), byPayer);
        vm.expectRevert(BAD_SIGNATURE);
        ch.unlock(c, k, false, s, a, 0, new bytes32[](0), forState);
        vm.recordLogs();
        ch.unlock(c, k, false, s, a, 0, new bytes32[](0), m);
        vm.stopPrank();
        k[1] |= 1 << 192;
        k[1] += 1 << 64;
        setAgent(k, true, agent, 9);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Named(bytes32,bool,uint256)"), "event");
        eq(keccak256(logs[0].data), keccak256(abi.encode(true, k[6])), "logged");
        eq(recordHash(id), hashOf(k), "named");
        vm.warp(EXPIRY + HOLD / 4);
        ch.settle(c, k);
        eq(smt.balanceOf(agent), 1_000_009, "fee from the payee");
        eq(smt.balanceOf(high), 1_005_011 - 9, "payee");
    }

    // ---------------------------------------------------------------- void

    function testVoidedLeafIsDead() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(3, s);
        bytes32 leaf = leafOf(a[1]);
        IChannels.Signature memory sig = releaseSig(false, leaf);
        vm.recordLogs();
        ch.voidLeaf(c, 0, false, leaf, sig);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Voided(bytes32,bytes32)"), "event");
        ok(ch.voided(keccak256(abi.encode(keccak256(abi.encode(id, uint32(0), low)), leaf))), "key");
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        failUnlock(k, false, s, a[1], IChannels.BadLeaf.selector);
        doUnlock(k, false, s, one(a[0]));
        doUnlock(k, false, s, one(a[2]));
    }

    function testOnlyThePayeeReleases() public {
        openWith(5000, 5000);
        bytes32 leaf = "leaf";
        IChannels.Signature memory sig = releaseSig(false, leaf);
        vm.expectRevert(BAD_SIGNATURE);
        ch.voidLeaf(c, 0, true, leaf, sig);
        vm.expectRevert(IChannels.WrongEpoch.selector);
        ch.voidLeaf(c, 1, false, leaf, sig);
        vm.expectRevert(BAD_SIGNATURE);
        ch.voidLeaf(c, 0, false, "other", sig);
        sig = releaseSig(true, leaf);
        vm.expectRevert(BAD_SIGNATURE);
        ch.voidLeaf(c, 0, false, leaf, sig);
        ch.voidLeaf(c, 0, true, leaf, sig);
        ok(!ch.voided(keccak256(abi.encode(keccak256(abi.encode(id, uint32(0), low)), leaf))), "the other direction's leaf lives");
    }

    function testVoidInOneEpochOnly() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(1, s);
        IChannels.Signature memory sig = releaseSig(false, leafOf(a[0]));
        ch.voidLeaf(c, 0, false, leafOf(a[0]), sig);
        uint256[8] memory k = closeBy(true, empty(), empty());
        vm.warp(END + HOLD / 4);
        ch.settle(c, k);
        vm.expectRevert(IChannels.WrongEpoch.selector);
        ch.voidLeaf(c, 0, false, leafOf(a[0]), sig);
        sig = releaseSig(false, "other");
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.voidLeaf(c, 1, false, "other", sig);
        vm.warp(START);
        openWith(5000, 5000);
        ch.voidLeaf(c, 1, false, "other", sig);
        k = closeBy(true, empty(), s);
        vm.warp(END);
        doUnlock(k, false, s, a);
    }

    /// @dev The channel remembers in its word that a leaf was released; every call that writes the word keeps that.
    function testReleaseOutlivesEveryChangeOfTheWord() public {
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        IChannels.Claim[] memory a = locks(3, s);
        ch.voidLeaf(c, 0, false, leafOf(a[1]), releaseSig(false, leafOf(a[1])));
        eq(ch.words(id) >> 252, 5, "open, and released");
        openWith(1, 1);
        IChannels.Withdrawal memory w = IChannels.Withdrawal(high, 2, high, address(0), 0, uint40(START + 1));
        bytes32 h = withdrawHash(w);
        ch.withdraw(c, w, sign(lowKey, h), sign(highKey, h));
        uint256[8] memory k = closing(true, false, empty(), paid(2, 9));
        IChannels.Signature memory sig = signState(false, paid(2, 9));
        vm.prank(high);
        ch.close(c, true, empty(), paid(2, 9), sig, none());
        eq(ch.words(id) >> 252, 6, "closing, and released");
        sig = signState(false, s);
        vm.prank(high);
        ch.update(c, k, false, s, sig, none());
        setSide(k, false, s);
        k[0] += uint256(s.lastExpiry) << 8;
        eq(recordHash(id), hashOf(k), "record");
        vm.warp(END);
        failUnlock(k, false, s, a[1], IChannels.BadLeaf.selector);
        doUnlock(k, false, s, one(a[0]));
        eq(ch.words(id) >> 252, 6, "still");
        failUnlock(k, false, s, a[1], IChannels.BadLeaf.selector);
        doUnlock(k, false, s, one(a[2]));
    }

    // ---------------------------------------------------------------- ticks

    /// @dev h[0] is the seed, h[i + 1] the hash of h[i].
    function ticks() internal pure returns (bytes32[] memory h) {
        h = new bytes32[](21);
        h[0] = "seed";
        for (uint256 i = 0; i < 20; i++) {
            h[i + 1] = sha256(abi.encode(h[i]));
        }
    }

    function testRedeemTicks() public {
        bytes32[] memory h = ticks();
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        s.tip = h[20];
        s.unit = 7;
        s.max = 12;
        for (uint256 payerHigh = 0; payerHigh < 2; payerHigh++) {
            uint256 snapshot = vm.snapshotState();
            bool isHigh = payerHigh == 1;
            uint256[8] memory k = closeBy(!isHigh, empty(), s);
            vm.warp(END - 1);
            vm.expectRevert(IChannels.WrongPhase.selector);
            ch.redeem(c, k, isHigh, s, h[15], 5, none());
            vm.warp(END);
            vm.expectRevert(IChannels.BadTicks.selector);
            ch.redeem(c, k, isHigh, s, h[7], 13, none());
            vm.expectRevert(IChannels.BadTicks.selector);
            ch.redeem(c, k, isHigh, s, h[20], 0, none());
            vm.expectRevert(IChannels.BadTicks.selector);
            ch.redeem(c, k, isHigh, s, h[15], 6, none());
            vm.recordLogs();
            ch.redeem(c, k, isHigh, s, h[15], 5, none());
            k[isHigh ? 2 : 1] += uint256(35) << 64;
            k[0] += uint256(5) << (isHigh ? 144 : 112);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            eq(logs[0].topics[0], keccak256("Redeemed(bytes32,uint256[8])"), "event");
            eq(keccak256(logs[0].data), keccak256(abi.encode(k)), "logged");
            eq(recordHash(id), hashOf(k), "record");
            vm.expectRevert(IChannels.BadTicks.selector);
            ch.redeem(c, k, isHigh, s, h[15], 5, none());
            vm.expectRevert(IChannels.BadTicks.selector);
            ch.redeem(c, k, isHigh, s, h[16], 4, none());
            vm.warp(END + HOLD / 4 - 1);
            ch.redeem(c, k, isHigh, s, h[8], 12, none());
            k[isHigh ? 2 : 1] += uint256(49) << 64;
            k[0] += uint256(7) << (isHigh ? 144 : 112);
            eq(recordHash(id), hashOf(k), "record");
            vm.warp(END + HOLD / 4);
            ch.settle(c, k);
            eq(smt.balanceOf(partyOf(!isHigh)), 1_005_000 + 10 + 84, "payee");
            vm.revertToState(snapshot);
        }
    }

    function testRedeemByMandate() public {
        bytes32[] memory h = ticks();
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, 10);
        s.tip = h[20];
        s.unit = 7;
        s.max = 12;
        uint256[8] memory k = closeBy(true, empty(), s);
        IChannels.Mandate[] memory m = mandate(true, 0, address(0), 9, uint40(END + 10));
        vm.warp(END + 10);
        vm.expectRevert(IChannels.Expired.selector);
        ch.redeem(c, k, false, s, h[15], 5, m);
        vm.warp(END + 9);
        vm.prank(stranger);
        ch.redeem(c, k, false, s, h[15], 5, m);
        k[1] += uint256(35) << 64;
        k[0] += uint256(5) << 112;
        setAgent(k, true, stranger, 9);
        eq(recordHash(id), hashOf(k), "record");
    }

    function testLargestTicksFit() public {
        bytes32[] memory h = ticks();
        openWith(5000, 5000);
        IChannels.State memory s = paid(3, type(uint96).max);
        s.tip = h[2];
        s.unit = type(uint64).max;
        s.max = type(uint32).max;
        IChannels.Claim memory l = lockClaim(0, type(uint96).max, EXPIRY, "x");
        single(l, s);
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(END);
        ch.redeem(c, k, false, s, "seed", 2, none());
        k[1] += (uint256(type(uint64).max) * 2) << 64;
        k[0] += uint256(2) << 112;
        eq(recordHash(id), hashOf(k), "record");
        doUnlock(k, false, s, one(l));
        vm.warp(EXPIRY + HOLD / 4);
        ch.settle(c, k);
        eq(smt.balanceOf(high), 1_010_000, "all of it, no more");
    }

    // ---------------------------------------------------------------- settle

    function testSettleBoundary() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        vm.warp(END + HOLD / 4 - 1);
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.settle(c, k);
        vm.warp(END + HOLD / 4);
        vm.recordLogs();
        ch.settle(c, k);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Settled(bytes32,uint256,uint256)"), "event");
        eq(keccak256(logs[0].data), keccak256(abi.encode(90, 60)), "amounts");
        eq(smt.balanceOf(low), 1_000_090, "low");
        eq(smt.balanceOf(high), 1_000_060, "high");
        (int96 l, int96 h, uint32 e, uint40 t, uint8 phase) = channelOf(id);
        ok(l == 0 && h == 0 && e == 1 && t == 0 && phase == 0, "next epoch");
        eq(recordHash(id), 0, "cleared");
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.settle(c, k);
    }

    function testSettleWaitsForLocks() public {
        openWith(100, 50);
        IChannels.State memory s = paid(3, 10);
        s.lastExpiry = EXPIRY;
        uint256[8] memory k = closeBy(true, empty(), s);
        vm.warp(EXPIRY + HOLD / 4 - 1);
        vm.expectRevert(IChannels.WrongPhase.selector);
        ch.settle(c, k);
        vm.warp(EXPIRY + HOLD / 4);
        ch.settle(c, k);
    }

    function testSettleNeedsTheRecord() public {
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        vm.warp(END + HOLD / 4);
        for (uint256 i = 0; i < 7; i++) {
            k[i] += 1 << 65;
            vm.expectRevert(IChannels.WrongPhase.selector);
            ch.settle(c, k);
            k[i] -= 1 << 65;
        }
        ch.settle(c, k);
    }

    /// @dev Netting with every sign: what one direction overpaid is clamped to what is there.
    function testFuzzSettleNets(uint32 dl, uint32 dh, uint96 ol, uint96 oh) public {
        dl = dl % 500_000;
        dh = dh % 500_000;
        if (dl + dh == 0) dl = 1;
        openWith(dl, dh);
        uint256[8] memory k = closeBy(false, paid(1, ol), paid(1, oh));
        vm.warp(END + HOLD / 4);
        ch.settle(c, k);
        int256 expected = int256(uint256(dl)) + int256(uint256(oh)) - int256(uint256(ol));
        int256 total = int256(uint256(dl) + dh);
        if (expected < 0) expected = 0;
        if (expected > total) expected = total;
        eq(smt.balanceOf(low), 1_000_000 + uint256(expected), "low");
        eq(smt.balanceOf(high), 1_000_000 + uint256(total - expected), "high");
    }

    function testSettleWithANegativeDeposit() public {
        openWith(100, 50);
        IChannels.Withdrawal memory w =
            IChannels.Withdrawal(high, 120, high, address(0), 0, uint40(block.timestamp + 1));
        bytes32 h = withdrawHash(w);
        ch.withdraw(c, w, sign(lowKey, h), sign(highKey, h));
        uint256[8] memory k = closeBy(false, paid(7, 75), empty());
        vm.warp(END + HOLD / 4);
        ch.settle(c, k);
        eq(smt.balanceOf(low), 1_000_025, "low");
        eq(smt.balanceOf(high), 1_000_125, "high: withdrew 120, then 5");
    }

    function testBothAgentsArePaidFromTheirParty() public {
        openWith(100, 50);
        IChannels.State memory own = paid(7, 30);
        IChannels.State memory s = paid(4, 20);
        IChannels.Mandate[] memory m = closeMandate(false, false, own, empty(), agent, 9, uint40(START + 10));
        IChannels.Mandate[] memory n = mandate(false, stateHash(true, s), stranger, 11, uint40(START + 10));
        uint256[8] memory k = closing(false, false, own, empty());
        setAgent(k, false, agent, 9);
        IChannels.Signature memory sig = signState(true, s);
        vm.prank(agent);
        ch.close(c, false, own, empty(), noSig(), m);
        vm.prank(stranger);
        ch.update(c, k, true, s, sig, n);
        setSide(k, true, s);
        setAgent(k, false, stranger, 11);
        vm.warp(END + HOLD / 4);
        ch.settle(c, k);
        eq(smt.balanceOf(agent), 1_000_000, "a later order replaces an earlier one");
        eq(smt.balanceOf(stranger), 11, "low's newer agent");
        eq(smt.balanceOf(low), 1_000_079, "low: 90 less 11");
        eq(smt.balanceOf(high), 1_000_060, "high");
    }

    function testSettleNeverReverts() public {
        Moody t = new Moody();
        useToken(address(t));
        t.mint(address(this), 1000);
        for (uint256 i = 1; i <= 6; i++) {
            t.setMood(Moody.Mood.Good);
            vm.warp(START);
            openWith(100, 50);
            t.setMood(Moody.Mood(i));
            uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
            vm.warp(END + HOLD / 4);
            ch.settle(c, k);
            eq(ch.credits(address(t), low), 90 * i, "credit");
            eq(ch.credits(address(t), high), 60 * i, "credit");
        }
    }

    function testBlacklistedPartyDoesNotBlockTheOther() public {
        Blacklisting t = new Blacklisting();
        useToken(address(t));
        t.mint(address(this), 1000);
        t.approve(address(ch), 1000);
        openWith(100, 50);
        t.list(low, true);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        vm.warp(END + HOLD / 4);
        ch.settle(c, k);
        eq(t.balanceOf(high), 60, "paid");
        eq(ch.credits(address(t), low), 90, "credit");
        vm.prank(low);
        ch.claim(address(t), low, user);
        eq(t.balanceOf(user), 90, "elsewhere");
    }

    function testReentrantSettle() public {
        Hooked t = new Hooked();
        useToken(address(t));
        t.mint(address(this), 1000);
        t.approve(address(ch), 1000);
        openWith(100, 50);
        uint256[8] memory k = closeBy(false, paid(7, 30), paid(4, 20));
        vm.warp(END + HOLD / 4);
        t.setHook(address(ch), abi.encodeCall(ch.settle, (c, k)), true);
        ch.settle(c, k);
        ok(t.reached() && t.reason() == bytes4(keccak256("Reentered()")), "refused");
        eq(t.balanceOf(low), 90, "once");
    }

    function testSettleBatchSkipsWhatCannotBeSettled() public {
        openWith(100, 50);
        IChannels.Channel[] memory cs = new IChannels.Channel[](4);
        uint256[8][] memory ks = new uint256[8][](4);
        cs[0] = c;
        ks[0] = closeBy(false, paid(7, 30), paid(4, 20));
        cs[1] = c;
        ks[1] = ks[0];
        cs[2] = IChannels.Channel(c.token, low, high, TERMS + 256);
        c.terms = 4 * 256 + 4;
        id = keccak256(abi.encode(c.token, low, high, c.terms));
        openWith(10, 5);
        cs[3] = c;
        IChannels.State memory own = paid(7, 3);
        ks[3] = closing(false, false, own, empty());
        vm.prank(low);
        ch.close(c, false, own, empty(), noSig(), none());
        vm.warp(END + HOLD / 4);
        uint256 n = ch.settleBatch(cs, ks);
        eq(n, 2, "the first and the last");
        eq(smt.balanceOf(low), 1_000_097, "low");
        eq(smt.balanceOf(high), 1_000_068, "high");
    }
}
