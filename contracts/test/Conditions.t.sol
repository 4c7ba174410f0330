// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";
import {IConditions} from "../src/interfaces/IConditions.sol";

/// @notice What a call condition asks.
contract Oracle {
    uint256 public answer;
    bytes32 private hungry;

    function set(uint256 a) external {
        answer = a;
    }

    function short() external pure {
        assembly {
            mstore(0, shl(248, 1))
            return(0, 31)
        }
    }

    function long() external view returns (uint256, uint256) {
        return (answer, 5);
    }

    function eat() external view returns (uint256) {
        for (uint256 i = 0; i < 100; i++) {
            keccak256(abi.encode(i, hungry));
        }
        return answer;
    }

    function change() external returns (uint256) {
        answer = 2;
        return 1;
    }

    function no() external pure {
        revert("no");
    }
}

contract ConditionsTest is Base {
    uint40 private constant EXPIRY = uint40(START + 1000);
    uint256 private constant P_ORDER = ORDER;
    bytes private constant GO = hex"01";

    function holds(bytes memory condition, bytes memory witness) internal view returns (bool) {
        return conditions.satisfied(condition, witness, EXPIRY);
    }

    function malformed(bytes memory condition, bytes memory witness) internal {
        vm.expectRevert(IConditions.Malformed.selector);
        conditions.satisfied(condition, witness, EXPIRY);
    }

    function point(uint256 t) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(2), vm.addr(t));
    }

    function time(uint8 kind, uint256 t) internal pure returns (bytes memory) {
        return abi.encodePacked(kind, uint40(t));
    }

    function receipt(uint256 key, bytes32 message) internal view returns (bytes memory condition, bytes memory witness) {
        condition = abi.encodePacked(uint8(5), vm.addr(key), message);
        IChannels.Signature memory s = compact(
            key,
            domain("SmartMesh Conditions", address(conditions)),
            keccak256(abi.encode(keccak256("Receipt(bytes32 message)"), message))
        );
        witness = abi.encode(s.r, s.vs);
    }

    function list(bytes[] memory members) internal pure returns (bytes memory out) {
        for (uint256 i = 0; i < members.length; i++) {
            out = bytes.concat(out, abi.encodePacked(uint16(members[i].length), members[i]));
        }
    }

    function pair(bytes memory a, bytes memory b) internal pure returns (bytes[] memory m) {
        m = new bytes[](2);
        m[0] = a;
        m[1] = b;
    }

    function all(bytes[] memory members) internal pure returns (bytes memory) {
        return bytes.concat(abi.encodePacked(uint8(7), uint8(members.length)), list(members));
    }

    function any(bytes[] memory members) internal pure returns (bytes memory) {
        return bytes.concat(abi.encodePacked(uint8(8), uint8(members.length)), list(members));
    }

    function testHashLock() public {
        ok(holds(hashLock("s"), abi.encode(bytes32("s"))), "opens");
        ok(!holds(hashLock("s"), abi.encode(bytes32("t"))), "other secret");
        ok(!holds(abi.encodePacked(uint8(1), keccak256(abi.encode(bytes32("s")))), abi.encode(bytes32("s"))), "SHA-256");
        malformed(hashLock("s"), "s");
        malformed(abi.encodePacked(hashLock("s"), uint8(0)), abi.encode(bytes32("s")));
        malformed(abi.encodePacked(hashLock("s"), uint8(0)), "");
        malformed(abi.encodePacked(uint8(1)), "");
        malformed("", GO);
        malformed("", "");
    }

    function testTimeOfWitness() public {
        vm.warp(EXPIRY - 1);
        ok(holds(hashLock("s"), abi.encode(bytes32("s"))), "before");
        vm.warp(EXPIRY);
        ok(!holds(hashLock("s"), abi.encode(bytes32("s"))), "at");
        vm.warp(EXPIRY + 1);
        ok(!holds(hashLock("s"), abi.encode(bytes32("s"))), "after");
    }

    function testPointLock() public {
        ok(holds(point(77), abi.encode(uint256(77))), "opens");
        ok(!holds(point(77), abi.encode(uint256(78))), "other scalar");
        ok(!holds(point(77), abi.encode(P_ORDER - 77)), "negative");
        ok(!holds(abi.encodePacked(uint8(2), address(0)), abi.encode(uint256(0))), "zero opens nothing");
        ok(!holds(abi.encodePacked(uint8(2), address(0)), abi.encode(P_ORDER)), "nor the order");
        ok(!holds(point(77), abi.encode(P_ORDER + 77)), "one encoding only");
        ok(holds(point(P_ORDER - 1), abi.encode(P_ORDER - 1)), "last");
        malformed(point(77), GO);
        malformed(abi.encodePacked(point(77), uint8(0)), abi.encode(uint256(77)));
    }

    function testFuzzPointLock(uint256 t, uint256 u) public view {
        t = 1 + t % (P_ORDER - 1);
        u = 1 + u % (P_ORDER - 1);
        ok(holds(point(t), abi.encode(t)), "opens");
        ok(t == u || !holds(point(t), abi.encode(u)), "only by its scalar");
    }

    function testAfterAndBefore() public {
        for (uint256 i = 0; i < 3; i++) {
            vm.warp(START + 99 + i);
            ok(holds(time(3, START + 100), GO) == (i > 0), "after: from its time on");
            ok(holds(time(4, START + 100), GO) == (i == 0), "before: until its time");
        }
        malformed(time(3, START), hex"02");
        malformed(time(3, START), hex"0101");
        malformed(abi.encodePacked(uint8(3), uint32(START)), GO);
    }

    function testReceipt() public {
        (bytes memory condition, bytes memory witness) = receipt(USER_KEY, "m");
        ok(holds(condition, witness), "signed");
        (bytes memory other,) = receipt(LOW_KEY, "m");
        ok(!holds(other, witness), "by its destination");
        (other,) = receipt(USER_KEY, "n");
        ok(!holds(other, witness), "over its message");
        malformed(condition, bytes.concat(witness, GO));
        malformed(bytes.concat(condition, GO), witness);
        IChannels.Signature memory s = compact(
            USER_KEY,
            domain("SmartMesh Channels", address(ch)),
            keccak256(abi.encode(keccak256("Receipt(bytes32 message)"), bytes32("m")))
        );
        ok(!holds(condition, abi.encode(s.r, s.vs)), "in this contract's domain");
        vm.chainId(block.chainid + 1);
        ok(!holds(condition, witness), "on this chain");
    }

    function callCondition(Oracle o, uint32 cap, bytes4 selector) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(6), address(o), cap, selector);
    }

    function testCall() public {
        Oracle o = new Oracle();
        bytes memory condition = callCondition(o, 50_000, o.answer.selector);
        ok(!holds(condition, GO), "0");
        o.set(2);
        ok(!holds(condition, GO), "2 is not yes");
        o.set(1);
        ok(holds(condition, GO), "1");
        ok(holds(callCondition(o, 50_000, o.long.selector), GO), "first word counts");
        ok(!holds(callCondition(o, 50_000, o.short.selector), GO), "31 bytes are no answer");
        ok(!holds(callCondition(o, 50_000, o.no.selector), GO), "a revert is no");
        ok(!holds(callCondition(o, 50_000, o.change.selector), GO), "static");
        ok(!holds(callCondition(o, 1_000, o.eat.selector), GO), "out of its cap");
        ok(holds(callCondition(o, 50_000, o.eat.selector), GO), "within its cap");
        ok(!holds(abi.encodePacked(uint8(6), stranger, uint32(50_000)), GO), "no code, no answer");
        malformed(condition, hex"00");
        malformed(abi.encodePacked(uint8(6), stranger), GO);
    }

    /// @dev Too little gas must not turn a yes into a no.
    function testCallNeedsItsGas() public {
        Oracle o = new Oracle();
        o.set(1);
        bytes memory data = abi.encodeCall(
            conditions.satisfied, (callCondition(o, 100_000, o.eat.selector), GO, EXPIRY)
        );
        uint256 refused;
        for (uint256 gas_ = 20_000; gas_ <= 200_000; gas_ += 2_000) {
            (bool done, bytes memory answer) = address(conditions).staticcall{gas: gas_}(data);
            if (done) ok(abi.decode(answer, (bool)), "never a no");
            else refused++;
        }
        ok(refused > 45 && refused < 70, "refused below cap and reserve");
    }

    function testAll() public {
        bytes memory condition = all(pair(hashLock("s"), time(3, START + 5)));
        bytes memory witness = list(pair(abi.encode(bytes32("s")), GO));
        ok(!holds(condition, witness), "one is missing");
        vm.warp(START + 5);
        ok(holds(condition, witness), "both");
        ok(!holds(condition, list(pair(abi.encode(bytes32("t")), GO))), "first wrong");
        malformed(condition, bytes.concat(witness, GO));
        malformed(bytes.concat(condition, GO), witness);
        malformed(condition, hex"00");
        malformed(condition, list(pair(abi.encode(bytes32("s")), hex"")).length == 36 ? bytes(hex"0040") : bytes(""));
    }

    function testAny() public {
        bytes memory condition = any(pair(hashLock("s"), time(3, START + 5)));
        ok(holds(condition, abi.encodePacked(uint8(0), bytes32("s"))), "first");
        ok(!holds(condition, abi.encodePacked(uint8(1), GO)), "second not yet");
        vm.warp(START + 5);
        ok(holds(condition, abi.encodePacked(uint8(1), GO)), "second");
        ok(!holds(condition, abi.encodePacked(uint8(0), bytes32("t"))), "first wrong");
        malformed(condition, abi.encodePacked(uint8(2), GO));
        malformed(bytes.concat(condition, GO), abi.encodePacked(uint8(1), GO));
    }

    function testMemberCounts() public {
        bytes[] memory m = new bytes[](4);
        bytes[] memory w = new bytes[](4);
        for (uint256 i = 0; i < 4; i++) {
            m[i] = time(3, START);
            w[i] = GO;
        }
        ok(holds(all(m), list(w)), "four");
        malformed(abi.encodePacked(uint8(7), uint8(0)), GO);
        m = new bytes[](5);
        for (uint256 i = 0; i < 5; i++) {
            m[i] = time(3, START);
        }
        malformed(any(m), abi.encodePacked(uint8(0), GO));
        malformed(abi.encodePacked(uint8(7)), GO);
        malformed(abi.encodePacked(uint8(8), uint8(1), uint16(9), GO), abi.encodePacked(uint8(0), GO));
        malformed(abi.encodePacked(uint8(8), uint8(1), uint8(9)), abi.encodePacked(uint8(0), GO));
    }

    function testNesting() public {
        bytes memory leaf = time(3, START);
        bytes memory inner = any(pair(leaf, hashLock("s")));
        bytes memory outer = all(pair(inner, leaf));
        bytes memory w = list(pair(abi.encodePacked(uint8(0), GO), GO));
        ok(holds(outer, w), "two deep");
        malformed(all(pair(outer, leaf)), list(pair(w, GO)));
    }

    function testUnknownKinds() public {
        malformed(abi.encodePacked(uint8(0)), GO);
        malformed(abi.encodePacked(uint8(9), bytes32(0)), GO);
        malformed(abi.encodePacked(uint8(9), address(this), uint32(5)), GO);
    }

    // ---------------------------------------------------------------- registry

    function testRegisterSecret() public {
        bytes32 key = sha256(abi.encode(bytes32("s")));
        vm.recordLogs();
        conditions.registerSecret("s");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Registered(bytes32,bytes)"), "event");
        eq(logs[0].topics[1], key, "key");
        eq(keccak256(logs[0].data), keccak256(abi.encode(abi.encode(bytes32("s")))), "the secret is public");
        eq(conditions.registeredAt(key), START, "time");
        vm.warp(START + 5);
        conditions.registerSecret("s");
        eq(conditions.registeredAt(key), START, "the first time counts");
        ok(holds(hashLock("s"), ""), "by the registry");
        ok(!holds(hashLock("t"), ""), "not registered");
        ok(conditions.satisfied(hashLock("s"), "", uint40(START + 1)), "registered before");
        ok(!conditions.satisfied(hashLock("s"), "", uint40(START)), "registered at the expiry is too late");
    }

    function testRegisterSecrets() public {
        bytes32[] memory secrets = new bytes32[](2);
        secrets[0] = "a";
        secrets[1] = "b";
        conditions.registerSecrets(secrets);
        ok(holds(hashLock("a"), "") && holds(hashLock("b"), ""), "both");
    }

    function testRegisterAnyCondition() public {
        (bytes memory condition, bytes memory witness) = receipt(USER_KEY, "m");
        ok(!holds(condition, ""), "not yet");
        conditions.register(condition, witness);
        eq(conditions.registeredAt(keccak256(condition)), START, "key");
        vm.warp(EXPIRY + 9);
        ok(!holds(condition, witness), "too late to sign");
        ok(holds(condition, ""), "but it was in time");
        conditions.register(point(5), abi.encode(uint256(5)));
        conditions.register(hashLock("z"), abi.encode(bytes32("z")));
        eq(conditions.registeredAt(sha256(abi.encode(bytes32("z")))), EXPIRY + 9, "a hash lock's key is its hash");
        vm.expectRevert(IConditions.NotFulfilled.selector);
        conditions.register(point(5), abi.encode(uint256(6)));
        vm.expectRevert(IConditions.Malformed.selector);
        conditions.register(point(6), "");
    }

    /// @dev A member can be looked up while the others are judged.
    function testRegistryInsideAll() public {
        conditions.registerSecret("s");
        bytes memory condition = all(pair(hashLock("s"), time(3, START)));
        ok(holds(condition, list(pair("", GO))), "one of each");
        conditions.register(condition, list(pair("", GO)));
        vm.warp(EXPIRY);
        ok(!holds(condition, list(pair("", GO))), "a time is judged before the expiry");
        ok(holds(condition, ""), "the whole was registered");
    }
}
