// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {Wallet} from "./support/Tokens.sol";
import {ISMT} from "../src/interfaces/ISMT.sol";

interface IPermit {
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    function nonces(address owner) external view returns (uint256);
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    function name() external view returns (string memory);
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
}

/// @notice Takes a deposit in every wrong way.
contract Taker {
    ISMT private immutable SMT_;
    uint256 public take;
    bytes4 public answer = this.onApprovalReceived.selector;
    bytes public again;

    constructor(ISMT smt) {
        SMT_ = smt;
    }

    function set(uint256 take_, bytes4 answer_, bytes calldata again_) external {
        (take, answer, again) = (take_, answer_, again_);
    }

    function onApprovalReceived(address owner, uint256, bytes calldata) external returns (bytes4) {
        if (take != 0) SMT_.transferFrom(owner, address(this), take);
        if (again.length != 0) {
            (bool done,) = address(SMT_).call(again);
            require(done, "again");
        }
        return answer;
    }

    function later(address owner, uint256 value) external {
        SMT_.transferFrom(owner, address(this), value);
    }
}

contract SmtTest is Base {
    uint256 private constant LATER = START + 100;
    uint256 private constant KEYED = 9 << 64;
    address private constant TO = address(0x70);
    bytes4 private constant BAD_NONCE = bytes4(keccak256("InvalidAccountNonce(address,uint256)"));

    function authorize(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            key, keccak256(abi.encodePacked(hex"1901", domain("SmartMesh Token", address(smt)), structHash))
        );
        return abi.encodePacked(r, s, v);
    }

    function transferHash(address from, address to, uint256 value, uint256 fee, address agent_, uint256 nonce, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                keccak256(
                    "Transfer(address from,address to,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
                ),
                from,
                to,
                value,
                fee,
                agent_,
                nonce,
                deadline
            )
        );
    }

    function signTransfer(uint256 value, uint256 fee, address agent_, uint256 nonce) internal view returns (bytes memory) {
        return authorize(USER_KEY, transferHash(user, TO, value, fee, agent_, nonce, LATER));
    }

    function testFixedSupply() public view {
        eq(smt.totalSupply(), 3_141_592_653e18, "supply");
        IPermit t = IPermit(address(smt));
        eq(keccak256(bytes(t.name())), keccak256("SmartMesh Token"), "name");
        eq(keccak256(bytes(t.symbol())), keccak256("SMT"), "symbol");
        eq(t.decimals(), 18, "decimals");
        eq(t.DOMAIN_SEPARATOR(), domain("SmartMesh Token", address(smt)), "domain");
    }

    function testTransferWithFee() public {
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        vm.prank(agent);
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        eq(smt.balanceOf(TO), 100, "to");
        eq(smt.balanceOf(agent), 1_000_007, "agent");
        eq(smt.balanceOf(user), 999_893, "from");
        eq(smt.nonces(user, 9), KEYED + 1, "nonce");
        eq(smt.nonces(user, 0), 0, "other keys stand still");
        vm.prank(agent);
        vm.expectRevert(abi.encodeWithSelector(BAD_NONCE, user, KEYED + 1));
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        s = signTransfer(1, 0, address(0), 0);
        vm.prank(stranger);
        smt.transferWithFee(user, TO, 1, 0, address(0), 0, LATER, s);
        eq(smt.balanceOf(TO), 101, "by anybody");
    }

    function testTransferChecksEveryField() public {
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        vm.prank(stranger);
        vm.expectRevert(ISMT.WrongAgent.selector);
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        vm.startPrank(agent);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(low, TO, 100, 7, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, stranger, 100, 7, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, TO, 101, 7, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, TO, 100, 8, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, TO, 100, 7, address(0), KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, TO, 100, 7, agent, 8 << 64, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER + 1, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.approveWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        vm.stopPrank();
    }

    function testDeadlineBoundary() public {
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        vm.startPrank(agent);
        for (uint256 i = 2; i > 0; i--) {
            vm.warp(LATER + i - 1);
            vm.expectRevert(ISMT.AuthorizationExpired.selector);
            smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        }
        vm.warp(LATER - 1);
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        vm.stopPrank();
    }

    function testSignatureForms() public {
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        bytes32 r;
        bytes32 sv;
        uint8 v;
        assembly {
            r := mload(add(s, 32))
            sv := mload(add(s, 64))
            v := byte(0, mload(add(s, 96)))
        }
        bytes[6] memory bad = [
            abi.encodePacked(r, bytes32(ORDER - uint256(sv)), v == 27 ? uint8(28) : uint8(27)),
            abi.encodePacked(r, sv, v - 27),
            abi.encodePacked(r, sv, v, uint8(0)),
            abi.encodePacked(r, bytes32(uint256(sv) | (uint256(v - 27) << 255))),
            abi.encodePacked(bytes32(0), sv, v),
            bytes("")
        ];
        vm.startPrank(agent);
        for (uint256 i = 0; i < bad.length; i++) {
            vm.expectRevert(ISMT.BadAuthorization.selector);
            smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, bad[i]);
        }
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(address(0), TO, 0, 0, agent, 0, LATER, bad[4]);
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        vm.stopPrank();
    }

    function testRecipients() public {
        bytes memory s = authorize(USER_KEY, transferHash(user, address(smt), 1, 0, agent, KEYED, LATER));
        vm.prank(agent);
        vm.expectRevert(ISMT.BadRecipient.selector);
        smt.transferWithFee(user, address(smt), 1, 0, agent, KEYED, LATER, s);
        s = authorize(USER_KEY, transferHash(user, address(0), 1, 0, agent, KEYED, LATER));
        vm.prank(agent);
        vm.expectRevert();
        smt.transferWithFee(user, address(0), 1, 0, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadRecipient.selector);
        smt.transfer(address(smt), 1);
    }

    /// @dev The inputs of 2018 (CVE-2018-10376): value and fee whose sum wraps to zero, from an empty account.
    function testProxyOverflow() public {
        uint256 value = 0x8fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff;
        uint256 fee = 0x7000000000000000000000000000000000000000000000000000000000000001;
        unchecked {
            eq(value + fee, 0, "the sum wraps");
        }
        uint256 key = 0xE4117;
        address empty_ = vm.addr(key);
        bytes memory s = authorize(key, transferHash(empty_, TO, value, fee, agent, 0, LATER));
        vm.prank(agent);
        vm.expectRevert();
        smt.transferWithFee(empty_, TO, value, fee, agent, 0, LATER, s);
        s = authorize(key, transferHash(empty_, empty_, value, fee, empty_, 0, LATER));
        vm.prank(empty_);
        vm.expectRevert();
        smt.transferWithFee(empty_, empty_, value, fee, empty_, 0, LATER, s);
        eq(smt.balanceOf(TO) + smt.balanceOf(empty_), 0, "nothing made");
    }

    function testValueAndFeeTogetherWithinBalance() public {
        bytes memory s = signTransfer(999_999, 2, agent, KEYED);
        vm.prank(agent);
        vm.expectRevert();
        smt.transferWithFee(user, TO, 999_999, 2, agent, KEYED, LATER, s);
        s = signTransfer(999_998, 2, agent, KEYED);
        vm.prank(agent);
        smt.transferWithFee(user, TO, 999_998, 2, agent, KEYED, LATER, s);
        eq(smt.balanceOf(user), 0, "all");
    }

    /// @dev 2018's second fault: a signature for one token worked in its sibling.
    function testSiblingTokenRefuses() public {
        ISMT sibling = ISMT(deploy("SMT", abi.encode(user)));
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        vm.prank(agent);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        sibling.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
    }

    function testContractWallet() public {
        Wallet w = new Wallet(user);
        smt.transfer(address(w), 1000);
        bytes32 h = transferHash(address(w), TO, 100, 7, agent, KEYED, LATER);
        bytes memory s = authorize(USER_KEY, h);
        bytes32 r;
        bytes32 sv;
        uint8 v;
        assembly {
            r := mload(add(s, 32))
            sv := mload(add(s, 64))
            v := byte(0, mload(add(s, 96)))
        }
        vm.startPrank(agent);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(address(w), TO, 101, 7, agent, KEYED, LATER, abi.encode(r, sv, v));
        smt.transferWithFee(address(w), TO, 100, 7, agent, KEYED, LATER, abi.encode(r, sv, v));
        vm.stopPrank();
        eq(smt.balanceOf(TO), 100, "ERC-1271");
    }

    function testApproveWithFee() public {
        bytes32 h = keccak256(
            abi.encode(
                keccak256(
                    "Approve(address from,address spender,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
                ),
                user,
                stranger,
                uint256(50),
                uint256(3),
                agent,
                KEYED,
                LATER
            )
        );
        bytes memory s = authorize(USER_KEY, h);
        vm.startPrank(agent);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.approveWithFee(user, low, 50, 3, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.approveWithFee(user, stranger, 51, 3, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.approveWithFee(user, stranger, 50, 2, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.transferWithFee(user, stranger, 50, 3, agent, KEYED, LATER, s);
        smt.approveWithFee(user, stranger, 50, 3, agent, KEYED, LATER, s);
        vm.stopPrank();
        eq(smt.allowance(user, stranger), 50, "allowance");
        eq(smt.balanceOf(agent), 1_000_003, "fee");
    }

    // ---------------------------------------------------------------- deposits

    function depositHash(address target, uint256 value, bytes memory data, uint256 fee) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "Deposit(address from,address target,uint256 value,bytes data,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
                ),
                user,
                target,
                value,
                keccak256(data),
                fee,
                agent,
                KEYED,
                LATER
            )
        );
    }

    function testDepositWithFeeOpensAChannel() public {
        bytes memory data = abi.encodePacked(low, high, TERMS, uint32(0), uint8(1), bytes32("l"), bytes32("h"));
        bytes memory s = authorize(USER_KEY, depositHash(address(ch), 100, data, 7));
        vm.startPrank(agent);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.depositWithFee(user, address(ch), 101, data, 7, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.depositWithFee(user, address(ch), 100, data, 8, agent, KEYED, LATER, s);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.depositWithFee(user, address(conditions), 100, data, 7, agent, KEYED, LATER, s);
        data[40] = 0;
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.depositWithFee(user, address(ch), 100, data, 7, agent, KEYED, LATER, s);
        data[40] = bytes1(uint8(TERMS >> 8));
        smt.depositWithFee(user, address(ch), 100, data, 7, agent, KEYED, LATER, s);
        vm.stopPrank();
        (int96 l, int96 h,,, uint8 phase) = channelOf(id);
        ok(l == 0 && h == 100 && phase == 1, "open");
        eq(smt.balanceOf(agent), 1_000_007, "fee");
        eq(smt.balanceOf(user), 999_893, "from");
        eq(smt.allowance(user, address(ch)), 0, "no allowance is left");
    }

    function testDepositTakesExactlyTheValue() public {
        Taker t = new Taker(smt);
        bytes4 yes = t.onApprovalReceived.selector;
        t.set(99, yes, "");
        vm.expectRevert(ISMT.DepositRefused.selector);
        smt.depositTo(address(t), 100, "");
        t.set(101, yes, "");
        vm.expectRevert();
        smt.depositTo(address(t), 100, "");
        t.set(100, 0x12345678, "");
        vm.expectRevert(ISMT.DepositRefused.selector);
        smt.depositTo(address(t), 100, "");
        vm.expectRevert(ISMT.DepositRefused.selector);
        smt.depositTo(address(t), 2 ** 96, "");
        t.set(100, yes, "");
        smt.depositTo(address(t), 100, "");
        eq(smt.balanceOf(address(t)), 100, "taken");
        vm.expectRevert();
        t.later(address(this), 1);
    }

    /// @dev A deposit closes its pass: another one in the same transaction finds none open.
    function testTwoDepositsInOneTransaction() public {
        bytes[] memory items = new bytes[](2);
        items[0] = abi.encodeCall(smt.depositTo, (address(ch), 3, abi.encodePacked(low, high, TERMS, uint32(0), uint8(1))));
        items[1] = abi.encodeCall(smt.depositTo, (address(ch), 4, abi.encodePacked(low, high, TERMS, uint32(0), uint8(0))));
        vm.prank(user);
        eq(smt.batch(items, 300_000), 2, "both");
        (int96 l, int96 h,,,) = channelOf(id);
        ok(l == 4 && h == 3, "credited");
    }

    function testDepositOfTheWholeSupply() public {
        address holder = address(0x401D);
        ISMT whole = ISMT(deploy("SMT", abi.encode(holder)));
        Taker t = new Taker(whole);
        uint256 supply = whole.totalSupply();
        t.set(supply, t.onApprovalReceived.selector, "");
        vm.prank(holder);
        whole.depositTo(address(t), supply, "");
        eq(whole.balanceOf(address(t)), supply, "all of it");
    }

    /// @dev The pass is the named target's alone, for the depositor's tokens alone.
    function testPassIsNobodyElses() public {
        Taker t = new Taker(smt);
        bytes4 yes = t.onApprovalReceived.selector;
        Taker thief = new Taker(smt);
        t.set(0, yes, abi.encodeCall(smt.transferFrom, (address(this), address(t), 100)));
        smt.depositTo(address(t), 100, "");
        t.set(0, yes, abi.encodeCall(smt.transferFrom, (user, address(t), 100)));
        vm.expectRevert(bytes("again"));
        smt.depositTo(address(t), 100, "");
        t.set(100, yes, abi.encodeCall(smt.depositTo, (address(thief), 0, "")));
        vm.expectRevert(bytes("again"));
        smt.depositTo(address(t), 100, "");
        thief.set(100, yes, "");
        vm.expectRevert();
        thief.later(address(this), 100);
    }

    function testPassDoesNotReplaceAnAllowance() public {
        smt.approve(stranger, 30);
        vm.startPrank(stranger);
        vm.expectRevert();
        smt.transferFrom(address(this), stranger, 31);
        smt.transferFrom(address(this), stranger, 30);
        vm.stopPrank();
        eq(smt.allowance(address(this), stranger), 0, "spent");
    }

    // ---------------------------------------------------------------- cancel, permit, batch

    function testCancel() public {
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        vm.recordLogs();
        vm.prank(user);
        smt.cancel(KEYED);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("AuthorizationCancelled(address,uint256)"), "event");
        vm.prank(agent);
        vm.expectRevert(abi.encodeWithSelector(BAD_NONCE, user, KEYED + 1));
        smt.transferWithFee(user, TO, 100, 7, agent, KEYED, LATER, s);
        vm.prank(user);
        vm.expectRevert(abi.encodeWithSelector(BAD_NONCE, user, KEYED + 1));
        smt.cancel(KEYED);
    }

    function testCancelWithFee() public {
        bytes32 h = keccak256(
            abi.encode(
                keccak256("Cancel(address from,uint256 nonce,uint256 fee,address agent,uint256 deadline)"),
                user,
                KEYED,
                uint256(2),
                agent,
                LATER
            )
        );
        bytes memory s = authorize(USER_KEY, h);
        vm.startPrank(agent);
        vm.expectRevert(ISMT.BadAuthorization.selector);
        smt.cancelWithFee(user, KEYED, 3, agent, LATER, s);
        smt.cancelWithFee(user, KEYED, 2, agent, LATER, s);
        vm.stopPrank();
        eq(smt.nonces(user, 9), KEYED + 1, "used");
        eq(smt.balanceOf(agent), 1_000_002, "fee");
    }

    function testPermitSharesKeyZero() public {
        bytes32 h = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                user,
                stranger,
                uint256(5),
                uint256(0),
                LATER
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(USER_KEY, keccak256(abi.encodePacked(hex"1901", domain("SmartMesh Token", address(smt)), h)));
        vm.warp(LATER);
        IPermit(address(smt)).permit(user, stranger, 5, LATER, v, r, s);
        eq(smt.allowance(user, stranger), 5, "allowance");
        eq(smt.nonces(user, 0), 1, "key 0");
        eq(IPermit(address(smt)).nonces(user), 1, "the same");
        vm.expectRevert();
        IPermit(address(smt)).permit(user, stranger, 5, LATER, v, r, s);
    }

    function testBatch() public {
        bytes[] memory items = new bytes[](4);
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        items[0] = abi.encodeCall(smt.transferWithFee, (user, TO, 100, 7, agent, KEYED, LATER, s));
        items[1] = items[0];
        bytes memory s2 = authorize(lowKey, transferHash(low, TO, 50, 5, agent, 0, LATER));
        items[2] = abi.encodeCall(smt.transferWithFee, (low, TO, 50, 5, agent, 0, LATER, s2));
        items[3] = hex"deadbeef";
        vm.recordLogs();
        vm.prank(agent);
        uint256 n = smt.batch(items, 200_000);
        eq(n, 2, "two good ones");
        eq(smt.balanceOf(TO), 150, "to");
        eq(smt.balanceOf(agent), 1_000_012, "fees");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 6, "four transfers, two failures");
        eq(logs[2].topics[0], keccak256("BatchItemFailed(uint256,bytes4)"), "event");
        eq(uint256(logs[2].topics[1]), 1, "which");
        eq(bytes32(logs[2].data), bytes32(BAD_NONCE), "why");
        eq(uint256(logs[5].topics[1]), 3, "the last");
    }

    function testBatchGas() public {
        bytes[] memory items = new bytes[](2);
        bytes memory s = signTransfer(100, 7, agent, KEYED);
        items[0] = abi.encodeCall(smt.transferWithFee, (user, TO, 100, 7, agent, KEYED, LATER, s));
        s = signTransfer(100, 7, agent, KEYED + 1);
        items[1] = abi.encodeCall(smt.transferWithFee, (user, TO, 100, 7, agent, KEYED + 1, LATER, s));
        vm.prank(agent);
        eq(smt.batch(items, 500), 0, "an item out of its gas is undone, the batch goes on");
        bytes memory data = abi.encodeCall(smt.batch, (items, 200_000));
        vm.prank(agent);
        (bool done, bytes memory why) = address(smt).call{gas: 210_000}(data);
        ok(!done && bytes4(why) == ISMT.GasTooLow.selector, "no item fails for want of the agent's gas");
        vm.prank(agent);
        eq(smt.batch(items, 200_000), 2, "both");
    }
}
