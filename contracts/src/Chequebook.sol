// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChequebook} from "./interfaces/IChequebook.sol";
import {Tokens} from "./Tokens.sol";
import {Verify} from "./Verify.sol";

/// @title Bonded chequebooks for payments to strangers who cannot see the chain
/// @notice Funds back the cheques; the bond, which only thaws slowly, answers for an issuer that contradicts itself.
/// Rules and typed structs: docs/contracts.md.
contract Chequebook is IChequebook, Tokens, Verify {
    uint8 private constant NONE = 0;
    uint8 private constant OPEN = 1;
    uint8 private constant THAWING = 2;
    uint8 private constant FRAUDULENT = 3;
    uint8 private constant CLOSED = 4;

    uint256 private constant THAW_MIN = 1 days;
    uint256 private constant THAW_MAX = 365 days;
    /// @dev Where burnt tokens go: many tokens have no burn function, and refuse the zero address.
    address private constant GRAVE = 0x000000000000000000000000000000000000dEaD;

    bytes32 private constant CHEQUE = keccak256(
        "Cheque(bytes32 book,uint64 index,uint96 increment,uint96 total,bytes32 previous,address beneficiary,uint96 cumulative)"
    );
    bytes32 private constant CASH_ORDER =
        keccak256("CashOrder(bytes32 book,bytes32 cheque,address to,address agent,uint96 fee,uint40 deadline)");
    bytes32 private constant LOCK =
        keccak256("Lock(bytes32 book,address beneficiary,uint96 amount,uint40 until,uint40 deadline)");
    bytes32 private constant THAW = keccak256("Thaw(bytes32 book,uint40 deadline)");
    bytes32 private constant WITHDRAW =
        keccak256("Withdraw(bytes32 book,address to,address agent,uint96 fee,uint40 deadline)");

    struct BookState {
        uint96 funds;
        uint96 bond;
        uint40 time;
        uint8 phase;
    }

    struct Account {
        uint96 cashed;
        uint96 locked;
        uint40 until;
    }

    struct FraudState {
        uint128 pot;
        uint128 claims;
    }

    mapping(bytes32 id => BookState) public books;
    mapping(bytes32 id => mapping(address beneficiary => Account)) public accounts;
    mapping(bytes32 id => FraudState) public frauds;
    mapping(bytes32 id => mapping(address beneficiary => uint96)) public claims;

    constructor() Verify("SmartMesh Chequebook") {}

    // ---------------------------------------------------------------- funding and thawing

    function fund(Book calldata b, uint96 funds, uint96 bond) external lock {
        uint256 got = _pull(b.token, msg.sender, uint256(funds) + bond);
        _fund(b, got, bond);
    }

    /// @notice ERC-1363: the calling token lets this contract take `value` from `owner`. Only that token is touched.
    function onApprovalReceived(address owner, uint256 value, bytes calldata data) external lock returns (bytes4) {
        (address bookOwner, address issuer, uint96 cap, uint40 thaw, uint96 bond) =
            abi.decode(data, (address, address, uint96, uint40, uint96));
        _fund(Book(msg.sender, bookOwner, issuer, cap, thaw), _pull(msg.sender, owner, value), bond);
        return this.onApprovalReceived.selector;
    }

    /// @dev Of what arrived, `bond` goes to the bond and the rest to the funds.
    function _fund(Book memory b, uint256 got, uint256 bond) private {
        if (b.owner == address(0) || b.issuer == address(0)) revert BadBook();
        if (b.thaw < THAW_MIN || b.thaw > THAW_MAX) revert BadBook();
        if (got < bond) revert BadAmount();
        bytes32 id = keccak256(abi.encode(b.token, b.owner, b.issuer, b.cap, b.thaw));
        BookState storage s = books[id];
        if (s.phase == FRAUDULENT || s.phase == CLOSED) revert WrongPhase();
        if (s.phase == NONE) s.phase = OPEN;
        s.funds = _fits(s.funds + got - bond);
        s.bond = _fits(s.bond + bond);
        emit Funded(id, b, s.funds, s.bond);
    }

    function startThaw(Book calldata b, uint40 deadline, Signature calldata signature) external lock {
        bytes32 id = _id(b);
        BookState storage s = books[id];
        if (s.phase != OPEN) revert WrongPhase();
        if (msg.sender != b.owner) {
            _before(deadline);
            _verify(keccak256(abi.encode(THAW, id, deadline)), signature.r, signature.vs, b.owner);
        }
        s.phase = THAWING;
        s.time = uint40(block.timestamp) + b.thaw;
        emit Thawing(id, s.time);
    }

    function withdraw(
        Book calldata b,
        address to,
        address agent,
        uint96 fee,
        uint40 deadline,
        Signature calldata signature
    ) external lock {
        bytes32 id = _id(b);
        BookState storage s = books[id];
        if (s.phase == NONE || s.phase == OPEN || block.timestamp < s.time) revert WrongPhase();
        if (to == address(0)) revert BadBook();
        if (msg.sender == b.owner) {
            fee = 0;
        } else {
            // A fee only when the book closes, which happens once: the order cannot be used again for another fee.
            if (fee != 0 && s.phase != THAWING) revert WrongPhase();
            _before(deadline);
            if (agent != address(0) && agent != msg.sender) revert WrongCaller();
            _verify(
                keccak256(abi.encode(WITHDRAW, id, to, agent, fee, deadline)), signature.r, signature.vs, b.owner
            );
        }
        uint256 amount = uint256(s.funds) + s.bond;
        if (amount == 0 || fee > amount) revert NothingDue();
        s.funds = 0;
        s.bond = 0;
        if (s.phase == THAWING) s.phase = CLOSED;
        emit Withdrawn(id, to, amount);
        _pay(b.token, to, amount - fee);
        _pay(b.token, msg.sender, fee);
    }

    // ---------------------------------------------------------------- cheques

    function cash(Book calldata b, Cheque calldata c, Signature calldata s) external lock {
        bytes32 id = _id(b);
        _verifyCheque(id, b, c, s);
        (uint256 fromLock, uint256 fromFunds,) = _take(id, c);
        if (fromLock + fromFunds == 0) revert NothingDue();
        _pay(b.token, c.beneficiary, fromLock + fromFunds);
    }

    function cashFor(Book calldata b, Cheque calldata c, Signature calldata s, CashOrder calldata o) external lock {
        bytes32 id = _id(b);
        bytes32 hash = _verifyCheque(id, b, c, s);
        _before(o.deadline);
        if (o.agent != address(0) && o.agent != msg.sender) revert WrongCaller();
        if (o.to == address(0)) revert BadBook();
        _verify(
            keccak256(abi.encode(CASH_ORDER, id, hash, o.to, o.agent, o.fee, o.deadline)),
            o.signature.r,
            o.signature.vs,
            c.beneficiary
        );
        (uint256 fromLock, uint256 fromFunds, uint256 unpaid) = _take(id, c);
        uint256 amount = fromLock + fromFunds;
        // All or nothing: else an issuer could feed the book in small pieces and let its agent take a fee of each.
        if (amount == 0 || amount < o.fee || unpaid != 0) revert NothingDue();
        _pay(b.token, o.to, amount - o.fee);
        _pay(b.token, msg.sender, o.fee);
    }

    function cashBatch(Book[] calldata b, Cheque[] calldata c, Signature[] calldata s)
        external
        lock
        returns (uint256 cashed)
    {
        for (uint256 i = 0; i < b.length; i++) {
            bytes32 id = _id(b[i]);
            if (!_signed(_chequeHash(id, c[i]), s[i].r, s[i].vs, b[i].issuer)) continue;
            (uint256 fromLock, uint256 fromFunds,) = _take(id, c[i]);
            uint256 amount = fromLock + fromFunds;
            if (amount == 0) continue;
            if (_push(b[i].token, c[i].beneficiary, amount)) {
                cashed++;
            } else {
                // Refused: as before, and still due.
                Account storage a = accounts[id][c[i].beneficiary];
                a.cashed -= uint96(amount);
                a.locked += uint96(fromLock);
                books[id].funds += uint96(fromFunds);
                emit Returned(id, c[i].beneficiary, amount);
            }
        }
    }

    /// @dev Books what the cheque is still due out of the lock and then the funds, as far as they reach.
    function _take(bytes32 id, Cheque calldata c)
        private
        returns (uint256 fromLock, uint256 fromFunds, uint256 unpaid)
    {
        Account storage a = accounts[id][c.beneficiary];
        uint256 cashed = a.cashed;
        if (c.cumulative <= cashed) return (0, 0, 0);
        uint256 due;
        unchecked {
            // What is taken is at most what is there, and cashed rises at most to the cumulative amount.
            due = c.cumulative - cashed;
            fromLock = _min(due, a.locked);
            BookState storage s = books[id];
            uint256 funds = s.funds;
            fromFunds = _min(due - fromLock, funds);
            unpaid = due - fromLock - fromFunds;
            a.cashed = uint96(cashed + due - unpaid);
            if (fromLock != 0) a.locked -= uint96(fromLock);
            if (fromFunds != 0) s.funds = uint96(funds - fromFunds);
        }
        if (due != unpaid) emit Cashed(id, c.beneficiary, due - unpaid, unpaid);
    }

    // ---------------------------------------------------------------- locks

    function lockFor(
        Book calldata b,
        address beneficiary,
        uint96 amount,
        uint40 until,
        uint40 deadline,
        Signature calldata signature
    ) external lock {
        bytes32 id = _id(b);
        BookState storage s = books[id];
        if (s.phase != OPEN) revert WrongPhase();
        if (msg.sender != b.owner && msg.sender != b.issuer) {
            _before(deadline);
            bytes32 h = keccak256(abi.encode(LOCK, id, beneficiary, amount, until, deadline));
            if (!_signed(h, signature.r, signature.vs, b.owner)) {
                _verify(h, signature.r, signature.vs, b.issuer);
            }
        }
        Account storage a = accounts[id][beneficiary];
        // A later end each time: an order cannot be used twice.
        if (until <= a.until || until <= block.timestamp) revert Expired();
        if (amount < a.locked || amount - a.locked > s.funds) revert BadAmount();
        s.funds -= amount - a.locked;
        a.locked = amount;
        a.until = until;
        emit Locked(id, beneficiary, amount, until);
    }

    function releaseLock(Book calldata b, address beneficiary) external lock {
        bytes32 id = _id(b);
        Account storage a = accounts[id][beneficiary];
        if (block.timestamp < a.until) revert WrongPhase();
        uint96 amount = a.locked;
        if (amount == 0) revert NothingDue();
        a.locked = 0;
        books[id].funds = _fits(uint256(books[id].funds) + amount);
        emit LockReleased(id, beneficiary, amount);
    }

    // ---------------------------------------------------------------- fraud

    function proveFraud(
        Book calldata b,
        Cheque calldata first,
        Signature calldata firstSignature,
        Cheque calldata second,
        Signature calldata secondSignature
    ) external lock {
        bytes32 id = _id(b);
        BookState storage s = books[id];
        if (s.phase != OPEN && s.phase != THAWING) revert WrongPhase();
        bytes32 firstHash = _verifyCheque(id, b, first, firstSignature);
        bytes32 secondHash = _verifyCheque(id, b, second, secondSignature);
        if (firstHash == secondHash || first.index > second.index) revert NoFraud();
        bool fraud = first.index == second.index || uint256(first.total) + second.increment > second.total
            || (second.index - first.index == 1 && second.previous != firstHash);
        if (!fraud) revert NoFraud();

        uint256 pot = s.bond / 2;
        uint256 burned = s.bond - pot;
        s.bond = 0;
        s.phase = FRAUDULENT;
        s.time = uint40(block.timestamp) + b.thaw;
        frauds[id].pot = uint128(pot);
        emit Fraud(id, burned, pot, s.time);
        _burn(b.token, burned);
    }

    function claim(Book calldata b, Cheque calldata c, Signature calldata signature) external lock {
        bytes32 id = _id(b);
        BookState storage s = books[id];
        if (s.phase != FRAUDULENT || block.timestamp >= s.time) revert WrongPhase();
        _verifyCheque(id, b, c, signature);
        Account storage a = accounts[id][c.beneficiary];
        uint96 claimed = claims[id][c.beneficiary];
        if (c.cumulative <= a.cashed || claimed >= b.cap) revert NothingDue();
        uint96 amount = uint96(_min(c.cumulative - a.cashed, b.cap - claimed));
        a.cashed += amount;
        claims[id][c.beneficiary] = claimed + amount;
        frauds[id].claims += amount;
        emit Claimed(id, c.beneficiary, amount);
    }

    function collect(Book calldata b, address beneficiary) external lock {
        bytes32 id = _id(b);
        _afterClaims(id);
        uint256 claimed = claims[id][beneficiary];
        if (claimed == 0) revert NothingDue();
        claims[id][beneficiary] = 0;
        FraudState memory f = frauds[id];
        uint256 amount = f.pot < f.claims ? claimed * f.pot / f.claims : claimed;
        emit Collected(id, beneficiary, amount);
        _pay(b.token, beneficiary, amount);
    }

    function burnSurplus(Book calldata b) external lock {
        bytes32 id = _id(b);
        _afterClaims(id);
        FraudState storage f = frauds[id];
        if (f.pot <= f.claims) revert NothingDue();
        uint256 amount = f.pot - f.claims;
        f.pot = f.claims;
        emit SurplusBurned(id, amount);
        _burn(b.token, amount);
    }

    // ---------------------------------------------------------------- pieces

    function _afterClaims(bytes32 id) private view {
        BookState storage s = books[id];
        if (s.phase != FRAUDULENT || block.timestamp < s.time) revert WrongPhase();
    }

    /// @dev The five members lie in the calldata as abi.encode lays them out. One with dirty upper bits names a book
    /// that nothing can fund.
    function _id(Book calldata b) private pure returns (bytes32 id) {
        assembly ("memory-safe") {
            let data := mload(64)
            calldatacopy(data, b, 160)
            id := keccak256(data, 160)
        }
    }

    /// @dev The six members lie in the calldata as EIP-712 hashes them; what is used of them is checked where it is read.
    function _chequeHash(bytes32 id, Cheque calldata c) private pure returns (bytes32 hash) {
        bytes32 typeHash = CHEQUE;
        assembly ("memory-safe") {
            let data := mload(64)
            mstore(data, typeHash)
            mstore(add(data, 32), id)
            calldatacopy(add(data, 64), c, 192)
            hash := keccak256(data, 256)
        }
    }

    function _verifyCheque(bytes32 id, Book calldata b, Cheque calldata c, Signature calldata s)
        private
        view
        returns (bytes32 hash)
    {
        hash = _chequeHash(id, c);
        _verify(hash, s.r, s.vs, b.issuer);
    }

    function _before(uint256 deadline) private view {
        if (block.timestamp >= deadline) revert Expired();
    }

    function _pay(address token, address to, uint256 amount) private {
        if (amount != 0 && !_push(token, to, amount)) revert TokenFailed();
    }

    /// @dev A token that will not be burnt stays here, out of everybody's reach: a proof of fraud never fails for it.
    function _burn(address token, uint256 amount) private {
        if (amount != 0) _push(token, GRAVE, amount);
    }

    function _fits(uint256 amount) private pure returns (uint96) {
        if (amount > type(uint96).max) revert BadAmount();
        return uint96(amount);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
