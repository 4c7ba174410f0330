// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC1363Spender} from "@openzeppelin/contracts/interfaces/IERC1363Spender.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {NoncesKeyed} from "@openzeppelin/contracts/utils/NoncesKeyed.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ISMT} from "./interfaces/ISMT.sol";

/// @title SMT: ERC-20 with EIP-2612 and payments authorised by signature
/// @notice The supply is fixed at deployment; there is no owner and no mint. Typed structs: docs/contracts.md.
contract SMT is ERC20, ERC20Permit, NoncesKeyed, ISMT {
    uint256 private constant SUPPLY = 3_141_592_653e18;
    /// @dev Gas a batch keeps back for itself after each item.
    uint256 private constant BATCH_RESERVE = 10_000;

    bytes32 private constant TRANSFER = keccak256(
        "Transfer(address from,address to,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant APPROVE = keccak256(
        "Approve(address from,address spender,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant DEPOSIT = keccak256(
        "Deposit(address from,address target,uint256 value,bytes data,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant CANCEL =
        keccak256("Cancel(address from,uint256 nonce,uint256 fee,address agent,uint256 deadline)");

    /// @dev The one allowance that exists only while `target` takes a deposit: target 160 | amount 96 (more than the
    /// supply), and whose it is.
    uint256 private transient pass;
    uint256 private transient depositor;

    constructor(address holder) ERC20("SmartMesh Token", "SMT") ERC20Permit("SmartMesh Token") {
        _mint(holder, SUPPLY);
    }

    function transferWithFee(
        address from,
        address to,
        uint256 value,
        uint256 fee,
        address agent,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(abi.encode(TRANSFER, from, to, value, fee, agent, nonce, deadline));
        _authorize(structHash, from, agent, nonce, deadline, signature);
        _transfer(from, to, value);
        _payFee(from, fee);
    }

    function approveWithFee(
        address from,
        address spender,
        uint256 value,
        uint256 fee,
        address agent,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(abi.encode(APPROVE, from, spender, value, fee, agent, nonce, deadline));
        _authorize(structHash, from, agent, nonce, deadline, signature);
        _approve(from, spender, value);
        _payFee(from, fee);
    }

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
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(DEPOSIT, from, target, value, keccak256(data), fee, agent, nonce, deadline)
        );
        _authorize(structHash, from, agent, nonce, deadline, signature);
        _payFee(from, fee);
        _deposit(from, target, value, data);
    }

    function depositTo(address target, uint256 value, bytes calldata data) external {
        _deposit(msg.sender, target, value, data);
    }

    function cancel(uint256 nonce) external {
        _useCheckedNonce(msg.sender, nonce);
        emit AuthorizationCancelled(msg.sender, nonce);
    }

    function cancelWithFee(
        address from,
        uint256 nonce,
        uint256 fee,
        address agent,
        uint256 deadline,
        bytes calldata signature
    ) external {
        _authorize(keccak256(abi.encode(CANCEL, from, nonce, fee, agent, deadline)), from, agent, nonce, deadline, signature);
        emit AuthorizationCancelled(from, nonce);
        _payFee(from, fee);
    }

    function batch(bytes[] calldata items, uint256 itemGas) external returns (uint256 succeeded) {
        for (uint256 i = 0; i < items.length; i++) {
            // With less at hand an item could be made to fail by whoever submits.
            if (gasleft() < itemGas + itemGas / 63 + BATCH_RESERVE) revert GasTooLow();
            bytes memory item = items[i];
            bool ok;
            bytes4 reason;
            assembly ("memory-safe") {
                mstore(0, 0)
                ok := delegatecall(itemGas, address(), add(item, 32), mload(item), 0, 4)
                reason := mload(0)
            }
            if (ok) succeeded++;
            else emit BatchItemFailed(i, reason);
        }
    }

    /// @dev Uses the nonce and reverts unless `from` authorised this agent before the deadline.
    function _authorize(
        bytes32 structHash,
        address from,
        address agent,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) private {
        if (block.timestamp >= deadline) revert AuthorizationExpired();
        if (agent != address(0) && agent != msg.sender) revert WrongAgent();
        _useCheckedNonce(from, nonce);
        bytes32 digest = _hashTypedDataV4(structHash);
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (problem == ECDSA.RecoverError.NoError && signer == from) return;
        if (from.code.length == 0 || !SignatureChecker.isValidERC1271SignatureNowCalldata(from, digest, signature)) {
            revert BadAuthorization();
        }
    }

    function _payFee(address from, uint256 fee) private {
        if (fee != 0) _transfer(from, msg.sender, fee);
    }

    /// @dev `target` must take exactly `value`; what it may take ends with this call.
    function _deposit(address from, address target, uint256 value, bytes calldata data) private {
        if (pass != 0) revert Reentered();
        if (value > SUPPLY) revert DepositRefused();
        pass = uint160(target) | (value << 160);
        depositor = uint160(from);
        bytes4 answer = IERC1363Spender(target).onApprovalReceived(from, value, data);
        if (answer != IERC1363Spender.onApprovalReceived.selector || pass != uint160(target)) revert DepositRefused();
        pass = 0;
    }

    function _spendAllowance(address owner, address spender, uint256 value) internal override {
        uint256 open = pass;
        if (address(uint160(open)) == spender && uint160(owner) == depositor && value <= open >> 160) {
            unchecked {
                pass = open - (value << 160);
            }
        } else {
            super._spendAllowance(owner, spender, value);
        }
    }

    /// @dev Nothing can leave this contract's own address, so nothing may come to it.
    function _update(address from, address to, uint256 value) internal override {
        if (to == address(this)) revert BadRecipient();
        super._update(from, to, value);
    }

    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function nonces(address owner, uint192 key) public view override(NoncesKeyed, ISMT) returns (uint256) {
        return super.nonces(owner, key);
    }

    function _useCheckedNonce(address owner, uint256 keyNonce) internal override(Nonces, NoncesKeyed) {
        super._useCheckedNonce(owner, keyNonce);
    }
}
