// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Payment channels between two keys, for every ERC-20 token
/// @notice The rules are in docs/contracts.md. All times are block timestamps in seconds; valid iff time < expiry.
/// All amounts are base units of the channel's token. The record of a closing channel is eight words (docs/contracts.md,
/// "The closing record"); `Closed`, `Updated` and `Redeemed` carry it whole, `Unlocked` and `Named` the word that changed.
interface IChannels {
    /// @notice Names a channel; its id is keccak256(abi.encode(token, low, high, terms)). `low` < `high` are the two
    /// channel keys, `terms` = hold index + 256 * factor of an unknown close.
    struct Channel {
        address token;
        address low;
        address high;
        uint16 terms;
    }

    /// @notice Content of a payer's message in one direction (the signed struct adds channel, epoch and payer).
    struct State {
        uint64 seq;
        uint96 paid;
        bytes32 root;
        uint96 locked;
        uint40 lastExpiry;
        bytes32 tip;
        uint64 unit;
        uint32 max;
    }

    /// @notice EIP-2098 compact signature; s must be in the lower half.
    struct Signature {
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A party's order to an agent or watchtower (typed struct `Mandate`, in a close `Close`). Calls take none or one.
    struct Mandate {
        address agent;
        uint96 fee;
        uint40 deadline;
        Signature signature;
    }

    /// @notice Withdrawal while open; `amount` includes `fee`.
    struct Withdrawal {
        address party;
        uint96 amount;
        address to;
        address agent;
        uint96 fee;
        uint40 expiry;
    }

    /// @notice Payouts both agree to; lowAmount + highAmount + fee = both deposits.
    struct Payouts {
        uint96 lowAmount;
        uint96 highAmount;
        address lowTo;
        address highTo;
        address agent;
        uint96 fee;
        uint40 deadline;
    }

    /// @notice One leaf of a direction's tree with what fulfils it. Claims of one call come by rising index.
    struct Claim {
        uint8 index;
        uint64 id;
        uint96 amount;
        uint40 expiry;
        bytes condition;
        bytes witness;
    }

    /// @notice An owner's signed order to deposit (typed struct `Deposit`), for tokens without a callback.
    struct DepositOrder {
        address owner;
        uint96 amount;
        address agent;
        uint96 fee;
        uint256 nonce;
        uint40 deadline;
    }

    /// @notice In each event `word` is the channel's word 0 after the call, `closing` its record.
    event Opened(
        bytes32 indexed channel,
        bytes32 indexed locatorLow,
        bytes32 indexed locatorHigh,
        address token,
        address low,
        address high,
        uint16 terms,
        uint256 word
    );
    /// @notice A deposit of which `Opened` does not tell.
    event Deposited(bytes32 indexed channel, uint256 word);
    event Withdrawn(bytes32 indexed channel, uint256 word);
    event Closed(bytes32 indexed channel, uint256 word, uint256[8] closing);
    event Updated(bytes32 indexed channel, uint256[8] closing);
    /// @notice `side` is the record's word of what that payer has paid.
    event Unlocked(bytes32 indexed channel, bool payerHigh, uint256 side);
    /// @notice An unlock was submitted for that party by its mandate; `agent` is the record's word of the party's agent.
    event Named(bytes32 indexed channel, bool partyHigh, uint256 agent);
    event Redeemed(bytes32 indexed channel, uint256[8] closing);
    event Voided(bytes32 indexed channel, bytes32 leaf);
    /// @notice The epoch ended: both deposits went to `victim` (its tower's fee included).
    event Forfeited(bytes32 indexed channel, address victim, uint256 amount);
    /// @notice The epoch ended by settle or by cooperative close. In a settlement the amounts include agents' fees.
    event Settled(bytes32 indexed channel, uint256 lowAmount, uint256 highAmount);
    /// @notice A token refused a payout; it can be claimed later.
    event Credited(address indexed token, address indexed account, uint256 amount);
    event Claimed(address indexed token, address indexed account, address to, uint256 amount);

    /// @notice Low is zero, low >= high, terms unknown, or an address may not be zero.
    error BadParties();
    /// @notice The channel is not in the phase (none/open/closing; challenge/unlock/settle) that the call needs.
    error WrongPhase();
    error WrongEpoch();
    /// @notice A deadline or expiry has passed, or does not rise.
    error Expired();
    /// @notice The caller is not the agent that was named.
    error WrongAgent();
    error NonceUsed();
    /// @notice The record passed in is not the stored one.
    error WrongClosing();
    /// @notice The message is not one this call accepts (its seq, its content or its emptiness).
    error WrongState();
    /// @notice The message shows no contradiction of the closer.
    error NoContradiction();
    /// @notice The message contradicts the closer: use forfeit.
    error Contradiction();
    /// @notice Leaf not in the tree, already used, voided, or beyond the locked total.
    error BadLeaf();
    error NotFulfilled();
    error BadTicks();

    function deposit(
        Channel calldata c,
        uint32 epoch,
        bool high,
        uint96 amount,
        bytes32 locatorLow,
        bytes32 locatorHigh
    ) external;

    function depositFor(
        Channel calldata c,
        uint32 epoch,
        bool high,
        bytes32 locatorLow,
        bytes32 locatorHigh,
        DepositOrder calldata order,
        Signature calldata ownerSignature
    ) external;

    function onApprovalReceived(address owner, uint256 value, bytes calldata data) external returns (bytes4);

    function withdraw(
        Channel calldata c,
        Withdrawal calldata w,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external;

    function coopClose(
        Channel calldata c,
        Payouts calldata p,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external;

    /// @notice The same while the channel is closing: `k` is its record.
    function coopCloseDisputed(
        Channel calldata c,
        uint256[8] calldata k,
        Payouts calldata p,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external;

    function close(
        Channel calldata c,
        bool closerHigh,
        State calldata own,
        State calldata partner,
        Signature calldata partnerSignature,
        Mandate[] calldata mandate
    ) external;

    function closeUnknown(
        Channel calldata c,
        bool closerHigh,
        State calldata own,
        State calldata partner,
        Signature calldata partnerSignature,
        Mandate[] calldata mandate
    ) external;

    function update(
        Channel calldata c,
        uint256[8] calldata k,
        bool payerHigh,
        State calldata s,
        Signature calldata payerSignature,
        Mandate[] calldata mandate
    ) external;

    function forfeit(
        Channel calldata c,
        uint256[8] calldata k,
        State calldata s,
        Signature calldata closerSignature,
        Mandate[] calldata mandate
    ) external;

    function unlock(
        Channel calldata c,
        uint256[8] calldata k,
        bool payerHigh,
        State calldata s,
        Claim[] calldata claims,
        uint256 depth,
        bytes32[] calldata proof,
        Mandate[] calldata mandate
    ) external;

    function redeem(
        Channel calldata c,
        uint256[8] calldata k,
        bool payerHigh,
        State calldata s,
        bytes32 preimage,
        uint32 n,
        Mandate[] calldata mandate
    ) external;

    function voidLeaf(
        Channel calldata c,
        uint32 epoch,
        bool payerHigh,
        bytes32 leaf,
        Signature calldata payeeSignature
    ) external;

    function settle(Channel calldata c, uint256[8] calldata k) external;

    /// @notice Settles what can be settled and skips the rest; returns how many were settled.
    function settleBatch(Channel[] calldata cs, uint256[8][] calldata ks) external returns (uint256 settled);

    /// @notice Pays out a credit; `to` may differ from `account` only if `account` calls.
    function claim(address token, address account, address to) external;

    /// @notice The channel's word (docs/contracts.md, "Storage").
    function words(bytes32 id) external view returns (uint256);
    function credits(address token, address account) external view returns (uint256);
    function voided(bytes32 key) external view returns (bool);
    function nonceBitmap(address owner, uint256 word) external view returns (uint256);
    function conditions() external view returns (address);
}
