// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice EIP-712 domain and EIP-2098 signatures of plain keys.
abstract contract Verify {
    error BadSignature();

    uint256 private immutable CHAIN = block.chainid;
    bytes32 private immutable NAME;
    bytes32 private immutable DOMAIN;

    /// @dev n/2 of secp256k1: a larger s is the second form of somebody else's signature.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    constructor(string memory name) {
        NAME = keccak256(bytes(name));
        DOMAIN = _domain(NAME);
    }

    /// @notice EIP-712 domain separator on the chain that executes the call.
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return block.chainid == CHAIN ? DOMAIN : _domain(NAME);
    }

    function _domain(bytes32 name) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                name,
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
    }

    /// @dev Reverts unless `signer` signed the typed struct.
    function _verify(bytes32 structHash, bytes32 r, bytes32 vs, address signer) internal view {
        if (!_signed(structHash, r, vs, signer)) revert BadSignature();
    }

    function _signed(bytes32 structHash, bytes32 r, bytes32 vs, address signer) internal view returns (bool) {
        uint256 s = uint256(vs) & (type(uint256).max >> 1);
        if (s > HALF_ORDER) return false;
        bytes32 separator = DOMAIN_SEPARATOR();
        bytes32 digest;
        assembly ("memory-safe") {
            let at := mload(64)
            mstore(at, hex"1901")
            mstore(add(at, 2), separator)
            mstore(add(at, 34), structHash)
            digest := keccak256(at, 66)
        }
        address recovered = ecrecover(digest, uint8(27 + (uint256(vs) >> 255)), r, bytes32(s));
        return recovered != address(0) && recovered == signer;
    }
}
