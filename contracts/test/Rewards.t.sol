// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {Plain} from "./support/Tokens.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";

contract RewardsTest is Base {
    address private constant GRAVE = 0x000000000000000000000000000000000000dEaD;
    uint96 private constant BOND = 2_000e18;
    uint96 private constant DEPOSIT = 50_000e18;
    uint256 private constant WEEK = 7 days;

    IRewards private rw;
    uint256 private epochNow;

    function setUp() public override {
        super.setUp();
        rw = IRewards(deploy("Rewards", abi.encode(ch, smt)));
        smt.transfer(low, 10_000e18);
        smt.transfer(high, 10_000e18);
        epochNow = START / WEEK;
    }

    function bond(address relay, uint96 amount) internal {
        vm.prank(relay);
        smt.depositTo(address(rw), amount, "");
    }

    function payouts(uint96 share) internal view returns (IChannels.Payouts memory) {
        return IChannels.Payouts(DEPOSIT - share, 0, low, high, address(rw), share, uint40(block.timestamp + 1));
    }

    function give(uint96 share) internal {
        openWith(DEPOSIT, 0);
        IChannels.Payouts memory p = payouts(share);
        bytes32 h = payoutsHash(p);
        rw.coopClose(c, p, sign(lowKey, h), sign(highKey, h));
    }

    function testBond() public {
        vm.prank(low);
        smt.approve(address(rw), BOND);
        vm.prank(low);
        rw.bond(BOND);
        eq(smt.balanceOf(address(rw)), BOND, "held");
        bond(low, 1);
        vm.prank(high);
        vm.expectRevert(IRewards.BadAmount.selector);
        smt.depositTo(address(rw), 1_000e18 - 1, "");
        bond(high, 1_000e18);
        vm.prank(stranger);
        vm.expectRevert(IRewards.NotSMT.selector);
        rw.onApprovalReceived(low, 5, "");
    }

    function testBondThaws() public {
        bond(low, BOND);
        vm.expectRevert(IRewards.NotBonded.selector);
        rw.startThaw();
        vm.expectRevert(IRewards.TooEarly.selector);
        rw.withdrawBond(low);
        vm.prank(low);
        rw.startThaw();
        vm.prank(low);
        vm.expectRevert(IRewards.NotBonded.selector);
        rw.startThaw();
        vm.prank(low);
        vm.expectRevert(IRewards.TooEarly.selector);
        smt.depositTo(address(rw), 1, "");
        vm.warp(START + 14 days - 1);
        vm.expectRevert(IRewards.TooEarly.selector);
        rw.withdrawBond(low);
        vm.warp(START + 14 days);
        uint256 before = smt.balanceOf(low);
        rw.withdrawBond(low);
        eq(smt.balanceOf(low), before + BOND, "back");
        vm.expectRevert(IRewards.TooEarly.selector);
        rw.withdrawBond(low);
    }

    function testRewardIsBelowTheShare() public {
        bond(low, BOND);
        vm.recordLogs();
        give(50e18);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(
            logs[logs.length - 1].topics[0],
            keccak256("GivenUp(address,address,uint256,uint256,uint256)"),
            "event"
        );
        eq(rw.rewardOf(low, epochNow), 40e18, "80 %");
        give(50e18);
        eq(rw.rewardOf(low, epochNow), 80e18, "up to the damping in full");
        give(300e18);
        eq(rw.rewardOf(low, epochNow), 160e18, "then the root: sqrt(400 * 100) * 80 %");
    }

    function testCapByBond() public {
        bond(low, 1_000e18);
        give(400e18);
        eq(rw.rewardOf(low, epochNow), 100e18, "a tenth of the bond");
        bond(low, 300e18);
        eq(rw.rewardOf(low, epochNow), 130e18, "more bond, more cap");
    }

    function testBothBondedShare() public {
        bond(low, BOND);
        bond(high, BOND);
        give(101);
        eq(rw.rewardOf(low, epochNow), 40, "half, floored");
        eq(rw.rewardOf(high, epochNow), 40, "the rest: 51 * 80 %");
    }

    function testHighAloneIsTheRelay() public {
        bond(high, BOND);
        give(100);
        eq(rw.rewardOf(low, epochNow), 0, "not bonded");
        eq(rw.rewardOf(high, epochNow), 80, "all");
    }

    function testWithdrawGivesToo() public {
        bond(low, BOND);
        openWith(DEPOSIT, 0);
        IChannels.Withdrawal memory w =
            IChannels.Withdrawal(low, 1000, low, address(rw), 100, uint40(block.timestamp + 1));
        bytes32 h = withdrawHash(w);
        rw.withdraw(c, w, sign(lowKey, h), sign(highKey, h));
        eq(rw.rewardOf(low, epochNow), 80, "80 % of the fee");
        w.agent = agent;
        vm.expectRevert(IRewards.NotAgent.selector);
        rw.withdraw(c, w, noSig(), noSig());
    }

    function testOnlySettlementsInSmtThatNameThisContract() public {
        bond(low, BOND);
        openWith(DEPOSIT, 0);
        IChannels.Payouts memory p = payouts(100);
        p.agent = agent;
        vm.expectRevert(IRewards.NotAgent.selector);
        rw.coopClose(c, p, noSig(), noSig());
        p = payouts(0);
        bytes32 h = payoutsHash(p);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.expectRevert(IRewards.BadAmount.selector);
        rw.coopClose(c, p, l, s);
        Plain t = new Plain();
        t.mint(address(this), DEPOSIT);
        t.approve(address(ch), DEPOSIT);
        useToken(address(t));
        openWith(DEPOSIT, 0);
        p = payouts(100);
        h = payoutsHash(p);
        l = sign(lowKey, h);
        s = sign(highKey, h);
        vm.expectRevert(IRewards.NotSMT.selector);
        rw.coopClose(c, p, l, s);
    }

    function testNobodyBonded() public {
        openWith(DEPOSIT, 0);
        IChannels.Payouts memory p = payouts(100);
        bytes32 h = payoutsHash(p);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.expectRevert(IRewards.NotBonded.selector);
        rw.coopClose(c, p, l, s);
        bond(low, BOND);
        vm.prank(low);
        rw.startThaw();
        vm.expectRevert(IRewards.NotBonded.selector);
        rw.coopClose(c, p, l, s);
    }

    function testClaimWindow() public {
        bond(low, BOND);
        give(100e18);
        uint256 end = (epochNow + 1) * WEEK;
        vm.warp(end - 1);
        vm.expectRevert(IRewards.TooEarly.selector);
        rw.claim(low, epochNow);
        vm.warp(end + 28 days);
        vm.expectRevert(IRewards.TooEarly.selector);
        rw.claim(low, epochNow);
        vm.warp(end + 28 days - 1);
        vm.expectRevert(IRewards.TooEarly.selector);
        rw.burn(epochNow);
        uint256 before = smt.balanceOf(low);
        vm.recordLogs();
        rw.claim(low, epochNow);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Rewarded(address,uint256,uint256)"), "event");
        eq(smt.balanceOf(low), before + 80e18, "reward");
        vm.expectRevert(IRewards.NothingDue.selector);
        rw.claim(low, epochNow);
        vm.warp(end + 28 days);
        vm.recordLogs();
        rw.burn(epochNow);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Burned(uint256,uint256)"), "event");
        eq(smt.balanceOf(GRAVE), 20e18, "what nobody earned burns");
        vm.expectRevert(IRewards.NothingDue.selector);
        rw.burn(epochNow);
        eq(smt.balanceOf(address(rw)), BOND, "the bond is untouched");
    }

    function testFirstSecondAfterTheEpoch() public {
        bond(low, BOND);
        give(100e18);
        vm.warp((epochNow + 1) * WEEK);
        eq(rw.currentEpoch(), epochNow + 1, "next epoch");
        rw.claim(low, epochNow);
    }

    function testWhoLeavesLosesTheReward() public {
        bond(low, BOND);
        give(100e18);
        vm.prank(low);
        rw.startThaw();
        vm.warp(START + 14 days);
        rw.withdrawBond(low);
        vm.expectRevert(IRewards.NothingDue.selector);
        rw.claim(low, epochNow);
    }

    /// @dev Whatever is given in whatever pieces, the reward stays strictly below it.
    function testFuzzSelfPaymentLoses(uint96[4] memory shares, uint8 n) public {
        bond(low, BOND);
        uint256 sum;
        for (uint256 i = 0; i < 1 + n % 4; i++) {
            uint96 share = 1 + shares[i] % (DEPOSIT / 10);
            give(share);
            sum += share;
            ok(rw.rewardOf(low, epochNow) < sum, "strictly below");
            ok(rw.rewardOf(low, epochNow) <= sum * 80 / 100, "80 % at most");
        }
    }
}
