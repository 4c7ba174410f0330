// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Conditions of conditional payments, and the registry of fulfilled ones
/// @notice A condition is a byte string (docs/contracts.md, "Conditions"). It can be judged at once with a witness, or
/// fulfilled here before its expiry and claimed later with an empty witness.
interface IConditions {
    /// @notice `secret` opens a hash lock or a registered condition holds since `time`; `key` is the look-up key.
    event Registered(bytes32 indexed key, bytes witness);

    /// @notice The byte string is not a condition, or its witness has the wrong shape.
    error Malformed();
    /// @notice The witness does not fulfil the condition now.
    error NotFulfilled();
    /// @notice A static call may only be judged with gas for its whole cap at hand.
    error GasTooLow();

    /// @notice Records that SHA-256(`secret`) was opened now. Does nothing if it was recorded earlier.
    function registerSecret(bytes32 secret) external;

    /// @notice `registerSecret` for many.
    function registerSecrets(bytes32[] calldata secrets) external;

    /// @notice Records that `condition` holds now by `witness` (not empty). Keeps the earliest record.
    function register(bytes calldata condition, bytes calldata witness) external;

    /// @notice Unix seconds of the earliest record of `key`, 0 if none. `key` is the SHA-256 hash of a hash lock,
    /// keccak256(condition) of every other kind.
    function registeredAt(bytes32 key) external view returns (uint256);

    /// @notice Whether `condition` counts as fulfilled before `expiry`: with a witness, judged now and now < expiry;
    /// with an empty witness, recorded at a time < expiry.
    function satisfied(bytes calldata condition, bytes calldata witness, uint40 expiry) external view returns (bool);
}
