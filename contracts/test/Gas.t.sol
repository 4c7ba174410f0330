// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";

contract GasTest is Base {
    event Gas(string name, uint256 gas);

    function note(string memory name) internal {
        emit Gas(name, vm.lastCallGas().gasTotalUsed);
    }

    function data(bool isHigh) internal view returns (bytes memory) {
        return abi.encodePacked(low, high, TERMS, epoch(), isHigh);
    }

    function testOpenSelf() public {
        smt.transfer(address(ch), 1);
        vm.prank(user);
        smt.depositTo(address(ch), 100, abi.encodePacked(low, high, TERMS, epoch(), false, keccak256("a"), keccak256("b")));
        note("open + deposit, self");
        vm.prank(user);
        smt.depositTo(address(ch), 100, data(false));
        note("top up, self");
    }

    function testClose() public {
        openWith(100_000, 100_000);
        IChannels.State memory own = paid(7, 30_000);
        IChannels.State memory partner = paid(9, 20_000);
        uint256[7] memory k = closing(false, false, own, partner);
        IChannels.Signature memory s = signState(true, partner);
        vm.prank(low);
        ch.close(c, false, own, partner, s, none());
        note("close with evidence");
        IChannels.State memory s2 = paid(3, 20_000);
        s2.root = keccak256("x");
        s = signState(false, s2);
        uint256[7] memory k0 = closing(false, false, own, partner);
        setSide(k, false, s2);
        vm.prank(high);
        ch.update(c, k0, false, s2, s, none());
        note("update");
        vm.warp(START + 10 days);
        ch.settle(c, k);
        note("settle");
    }
}
