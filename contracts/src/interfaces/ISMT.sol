// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title SMT: the token, with payments authorised by signature
/// @notice Each authorised call names the agent (zero: anyone), the fee in SMT that the agent earns, one change of
/// assets, a keyed nonce (key in the upper 192 bits, counter in the lower 64) and a deadline (valid iff time < deadline).
/// `signature` is 65 bytes r, s, v of an account's key with s in the lower half, or what an ERC-1271 wallet accepts.
interface ISMT is IERC20 {
    /// @notice A batch item failed; `reason` is the first 4 bytes of its revert data.
    event BatchItemFailed(uint256 indexed item, bytes4 reason);
    event AuthorizationCancelled(address indexed from, uint256 nonce);

    error AuthorizationExpired();
    error WrongAgent();
    error BadAuthorization();
    error BadRecipient();
    error DepositRefused();
    error GasTooLow();
    error Reentered();

    function transferWithFee(
        address from,
        address to,
        uint256 value,
        uint256 fee,
        address agent,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    function approveWithFee(
        address from,
        address spender,
        uint256 value,
        uint256 fee,
        address agent,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Lets `target` take `value` in this call only and calls its `onApprovalReceived(from, value, data)`:
    /// opens a channel, tops one up, or funds a chequebook.
    function depositWithFee(
        address from,
        address target,
        uint256 value,
        bytes calldata data,
        uint256 fee,
        address agent,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice `depositWithFee` by the holder itself, no signature, no fee.
    function depositTo(address target, uint256 value, bytes calldata data) external;

    /// @notice Uses up the caller's nonce `nonce`, so that whatever was signed with it is void.
    function cancel(uint256 nonce) external;

    function cancelWithFee(
        address from,
        uint256 nonce,
        uint256 fee,
        address agent,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Runs each item (calldata of a function of this contract) as the caller, with at most `itemGas` gas; a
    /// failing item is undone and reported, the others go on.
    function batch(bytes[] calldata items, uint256 itemGas) external returns (uint256 succeeded);

    function nonces(address owner, uint192 key) external view returns (uint256);
}
