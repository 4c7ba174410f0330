// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IConditions} from "./interfaces/IConditions.sol";
import {Verify} from "./Verify.sol";

/// @title Judges conditions and remembers since when they are fulfilled
/// @notice Encoding of conditions and witnesses: docs/contracts.md, "Conditions".
contract Conditions is IConditions, Verify {
    uint8 private constant HASH_LOCK = 1;
    uint8 private constant POINT_LOCK = 2;
    uint8 private constant AFTER = 3;
    uint8 private constant BEFORE = 4;
    uint8 private constant RECEIPT = 5;
    uint8 private constant CALL = 6;
    uint8 private constant ALL = 7;
    uint8 private constant ANY = 8;

    uint256 private constant MEMBERS_MAX = 4;
    uint256 private constant DEPTH_MAX = 2;
    /// @dev What is left to this contract after a capped call.
    uint256 private constant CALL_RESERVE = 20_000;
    bytes32 private constant RECEIPT_TYPE = keccak256("Receipt(bytes32 message)");

    /// @dev secp256k1: x of the generator (its y is even) and the group order.
    uint256 private constant GX = 0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798;
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    mapping(bytes32 key => uint256) public registeredAt;

    constructor() Verify("SmartMesh Conditions") {}

    function registerSecret(bytes32 secret) external {
        _record(sha256(abi.encode(secret)), abi.encode(secret));
    }

    function registerSecrets(bytes32[] calldata secrets) external {
        for (uint256 i = 0; i < secrets.length; i++) {
            _record(sha256(abi.encode(secrets[i])), abi.encode(secrets[i]));
        }
    }

    function register(bytes calldata condition, bytes calldata witness) external {
        if (witness.length == 0) revert Malformed();
        if (!_holds(condition, witness, type(uint40).max, 0)) revert NotFulfilled();
        _record(_key(condition), witness);
    }

    function satisfied(bytes calldata condition, bytes calldata witness, uint40 expiry) external view returns (bool) {
        return _holds(condition, witness, expiry, 0);
    }

    /// @dev The first time counts; a later record neither helps nor harms anybody.
    function _record(bytes32 key, bytes memory witness) private {
        if (registeredAt[key] != 0) return;
        registeredAt[key] = block.timestamp;
        emit Registered(key, witness);
    }

    function _key(bytes calldata condition) private pure returns (bytes32) {
        if (uint8(condition[0]) == HASH_LOCK) {
            _size(condition, 33);
            return bytes32(condition[1:33]);
        }
        return keccak256(condition);
    }

    function _holds(bytes calldata c, bytes calldata w, uint256 expiry, uint256 depth) private view returns (bool) {
        if (c.length == 0) revert Malformed();
        if (w.length == 0) {
            uint256 time = registeredAt[_key(c)];
            return time != 0 && time < expiry;
        }
        if (block.timestamp >= expiry) return false;
        uint8 kind = uint8(c[0]);
        if (kind == HASH_LOCK) {
            _size(c, 33);
            _size(w, 32);
            return sha256(w) == bytes32(c[1:33]);
        }
        if (kind == POINT_LOCK) {
            _size(c, 21);
            _size(w, 32);
            return _isPoint(uint256(bytes32(w)), address(bytes20(c[1:21])));
        }
        if (kind == RECEIPT) {
            _size(c, 53);
            _size(w, 64);
            bytes32 structHash = keccak256(abi.encode(RECEIPT_TYPE, bytes32(c[21:53])));
            return _signed(structHash, bytes32(w[0:32]), bytes32(w[32:64]), address(bytes20(c[1:21])));
        }
        if (kind == ALL || kind == ANY) return _composite(c, w, expiry, depth);
        if (w.length != 1 || w[0] != 0x01) revert Malformed();
        if (kind == AFTER || kind == BEFORE) {
            _size(c, 6);
            uint256 time = uint40(bytes5(c[1:6]));
            return kind == AFTER ? block.timestamp >= time : block.timestamp < time;
        }
        if (kind != CALL || c.length < 25) revert Malformed();
        return _call(address(bytes20(c[1:21])), uint32(bytes4(c[21:25])), c[25:]);
    }

    function _composite(bytes calldata c, bytes calldata w, uint256 expiry, uint256 depth)
        private
        view
        returns (bool)
    {
        if (depth == DEPTH_MAX || c.length < 2) revert Malformed();
        bool all = uint8(c[0]) == ALL;
        uint256 count = uint8(c[1]);
        if (count == 0 || count > MEMBERS_MAX) revert Malformed();
        c = c[2:];
        uint256 chosen;
        if (!all) {
            chosen = uint8(w[0]);
            if (chosen >= count) revert Malformed();
            w = w[1:];
        }
        bool holds = true;
        for (uint256 i = 0; i < count; i++) {
            bytes calldata member;
            (member, c) = _next(c);
            if (all) {
                bytes calldata witness;
                (witness, w) = _next(w);
                if (!_holds(member, witness, expiry, depth + 1)) holds = false;
            } else if (i == chosen) {
                holds = _holds(member, w, expiry, depth + 1);
            }
        }
        if (c.length != 0 || (all && w.length != 0)) revert Malformed();
        return holds;
    }

    function _next(bytes calldata list) private pure returns (bytes calldata item, bytes calldata rest) {
        if (list.length < 2) revert Malformed();
        uint256 end = 2 + uint256(uint16(bytes2(list[0:2])));
        if (list.length < end) revert Malformed();
        return (list[2:end], list[end:]);
    }

    /// @dev ecrecover of digest 0, r = Gx, s = t * Gx gives the address of t * G: r^-1 * (s * G - 0 * G) = t * G.
    function _isPoint(uint256 t, address point) private pure returns (bool) {
        if (t == 0 || t >= ORDER || point == address(0)) return false;
        return ecrecover(0, 27, bytes32(GX), bytes32(mulmod(t, GX, ORDER))) == point;
    }

    /// @dev With less gas at hand than the cap the answer would depend on the caller, so none is given.
    function _call(address target, uint256 cap, bytes memory data) private view returns (bool) {
        if (gasleft() < cap + cap / 63 + CALL_RESERVE) revert GasTooLow();
        bool ok;
        assembly ("memory-safe") {
            mstore(0, 0)
            ok := staticcall(cap, target, add(data, 32), mload(data), 0, 32)
            ok := and(ok, and(gt(returndatasize(), 31), eq(mload(0), 1)))
        }
        return ok;
    }

    function _size(bytes calldata data, uint256 size) private pure {
        if (data.length != size) revert Malformed();
    }
}
