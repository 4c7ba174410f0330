// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Moves tokens that may be hostile: believes balances, not words.
abstract contract Tokens {
    error TokenFailed();
    error BadAmount();
    error GasTooLow();
    error Reentered();

    /// @dev Gas a token gets for one payout: enough for the proxied and rebasing ones in use, and little enough that
    /// one that burns it all cannot keep the others of a call from being paid.
    uint256 internal constant TRANSFER_GAS = 200_000;

    /// @dev A whole word: a smaller type would be read again before each write.
    uint256 private transient entered;

    /// @dev One lock for all entries: no token's hook gets in while balances are measured or paid.
    modifier lock() {
        if (entered != 0) revert Reentered();
        entered = 1;
        _;
        entered = 0;
    }

    /// @dev Debits `from` and returns by how much this contract's balance rose (not zero).
    function _pull(address token, address from, uint256 amount) internal returns (uint256) {
        uint256 before = _balance(token);
        uint256 data;
        assembly ("memory-safe") {
            data := mload(64)
            mstore(data, shl(224, 0x23b872dd)) // transferFrom(address,address,uint256)
            mstore(add(data, 4), from)
            mstore(add(data, 36), address())
            mstore(add(data, 68), amount)
        }
        if (!_call(token, gasleft(), data, 100)) revert TokenFailed();
        uint256 afterwards = _balance(token);
        if (afterwards <= before) revert BadAmount();
        unchecked {
            return afterwards - before;
        }
    }

    /// @dev Pays; false if the token refused, failed, or spent its gas.
    function _push(address token, address to, uint256 amount) internal returns (bool) {
        // 63/64 of what is left must cover the token's gas, and the rest what a refusal costs.
        if (gasleft() < TRANSFER_GAS + 60_000) revert GasTooLow();
        uint256 data;
        assembly ("memory-safe") {
            data := mload(64)
            mstore(data, shl(224, 0xa9059cbb)) // transfer(address,uint256)
            mstore(add(data, 4), to)
            mstore(add(data, 36), amount)
        }
        return _call(token, TRANSFER_GAS, data, 68);
    }

    function _balance(address token) private view returns (uint256 held) {
        bool ok;
        assembly ("memory-safe") {
            mstore(0, shl(224, 0x70a08231)) // balanceOf(address)
            mstore(4, address())
            ok := staticcall(gas(), token, 0, 36, 0, 32)
            ok := and(ok, gt(returndatasize(), 31))
            held := mload(0)
        }
        if (!ok) revert TokenFailed();
    }

    /// @dev Calls with `size` bytes at `data` (free memory, used at once). True iff the call succeeded and returned
    /// nothing (from a contract) or the word 1; copies one word however much is returned.
    function _call(address token, uint256 gasLimit, uint256 data, uint256 size) private returns (bool ok) {
        assembly ("memory-safe") {
            ok := call(gasLimit, token, 0, data, size, 0, 32)
            switch returndatasize()
            case 0 { ok := and(ok, gt(extcodesize(token), 0)) }
            default { ok := and(ok, and(gt(returndatasize(), 31), eq(mload(0), 1))) }
        }
    }
}
