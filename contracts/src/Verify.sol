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
        return _signedDigest(_digest(structHash), r, vs, signer);
    }

    function _digest(bytes32 structHash) internal view returns (bytes32 digest) {
        bytes32 separator = DOMAIN_SEPARATOR();
        assembly ("memory-safe") {
            let data := mload(64)
            mstore(data, hex"1901")
            mstore(add(data, 2), separator)
            mstore(add(data, 34), structHash)
            digest := keccak256(data, 66)
        }
    }

    function _signedDigest(bytes32 digest, bytes32 r, bytes32 vs, address signer) internal view returns (bool) {
        uint256 s = uint256(vs) & (type(uint256).max >> 1);
        if (s > HALF_ORDER) return false;
        address recovered;
        assembly ("memory-safe") {
            let data := mload(64)
            mstore(data, digest)
            mstore(add(data, 32), add(27, shr(255, vs)))
            mstore(add(data, 64), r)
            mstore(add(data, 96), s)
            // ecrecover; it returns nothing for a signature of nobody.
            mstore(0, 0)
            pop(staticcall(gas(), 1, data, 128, 0, 32))
            recovered := mload(0)
        }
        return recovered != address(0) && recovered == signer;
    }
}
