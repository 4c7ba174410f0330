// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Bonded chequebooks: pay strangers who cannot see the chain
/// @notice The rules are in docs/contracts.md. Funds back the cheques, the bond answers for contradictions.
interface IChequebook {
    /// @notice Names a book; its id is keccak256(abi.encode(token, owner, issuer, cap, thaw)). `owner` is the wallet
    /// that may thaw, `issuer` signs cheques, `cap` limits one beneficiary's compensation, `thaw` is in seconds.
    struct Book {
        address token;
        address owner;
        address issuer;
        uint96 cap;
        uint40 thaw;
    }

    struct Cheque {
        uint64 index;
        uint96 increment;
        uint96 total;
        bytes32 previous;
        address beneficiary;
        uint96 cumulative;
    }

    struct Signature {
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A beneficiary's signed order to an agent who cashes for it (typed struct `CashOrder`).
    struct CashOrder {
        address to;
        address agent;
        uint96 fee;
        uint40 deadline;
        Signature signature;
    }

    event Funded(bytes32 indexed book, Book terms, uint256 funds, uint256 bond);
    event Cashed(bytes32 indexed book, address indexed beneficiary, uint256 amount, uint256 unpaid);
    /// @notice A token refused a payout of a batch: what `Cashed` said is undone.
    event Returned(bytes32 indexed book, address indexed beneficiary, uint256 amount);
    event Locked(bytes32 indexed book, address indexed beneficiary, uint256 locked, uint40 until);
    event LockReleased(bytes32 indexed book, address indexed beneficiary, uint256 amount);
    event Thawing(bytes32 indexed book, uint40 time);
    event Withdrawn(bytes32 indexed book, address to, uint256 amount);
    event Fraud(bytes32 indexed book, uint256 burned, uint256 pot, uint40 claimsEnd);
    event Claimed(bytes32 indexed book, address indexed beneficiary, uint256 amount);
    event Collected(bytes32 indexed book, address indexed beneficiary, uint256 amount);
    event SurplusBurned(bytes32 indexed book, uint256 amount);

    error BadBook();
    error WrongPhase();
    error WrongCaller();
    error Expired();
    error NothingDue();
    error NoFraud();

    function fund(Book calldata b, uint96 funds, uint96 bond) external;
    function onApprovalReceived(address owner, uint256 value, bytes calldata data) external returns (bytes4);
    function cash(Book calldata b, Cheque calldata c, Signature calldata s) external;
    function cashFor(Book calldata b, Cheque calldata c, Signature calldata s, CashOrder calldata o) external;
    /// @notice Cashes every cheque that pays something; skips the others. Returns how many paid.
    function cashBatch(Book[] calldata b, Cheque[] calldata c, Signature[] calldata s)
        external
        returns (uint256 cashed);
    /// @notice Raises what is set aside for one beneficiary to `amount` until `until` (later than before).
    /// Owner or issuer, as the caller or by a `Lock` signature.
    function lockFor(
        Book calldata b,
        address beneficiary,
        uint96 amount,
        uint40 until,
        uint40 deadline,
        Signature calldata s
    ) external;
    /// @notice After `until`: what is left of the lock returns to the funds.
    function releaseLock(Book calldata b, address beneficiary) external;
    /// @notice Starts the delay after which the owner may withdraw. Owner, as the caller or by a `Thaw` signature.
    function startThaw(Book calldata b, uint40 deadline, Signature calldata s) external;
    /// @notice Owner, as the caller (`deadline` = 0) or by a `Withdraw` signature.
    function withdraw(
        Book calldata b,
        address to,
        address agent,
        uint96 fee,
        uint40 deadline,
        Signature calldata s
    ) external;
    function proveFraud(
        Book calldata b,
        Cheque calldata first,
        Signature calldata firstSignature,
        Cheque calldata second,
        Signature calldata secondSignature
    ) external;
    /// @notice After a fraud: registers a beneficiary's compensation, at most the book's cap.
    function claim(Book calldata b, Cheque calldata c, Signature calldata s) external;
    /// @notice After the claims' end: pays one beneficiary its share.
    function collect(Book calldata b, address beneficiary) external;
    /// @notice After the claims' end: burns what no claim needs.
    function burnSurplus(Book calldata b) external;

    function books(bytes32 id) external view returns (uint96 funds, uint96 bond, uint40 time, uint8 phase);
    function accounts(bytes32 id, address beneficiary)
        external
        view
        returns (uint96 cashed, uint96 locked, uint40 until);
    function frauds(bytes32 id) external view returns (uint128 pot, uint128 claims);
    function claims(bytes32 id, address beneficiary) external view returns (uint96);
}
