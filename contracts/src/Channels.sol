// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannels} from "./interfaces/IChannels.sol";
import {IConditions} from "./interfaces/IConditions.sol";
import {Tokens} from "./Tokens.sol";
import {Verify} from "./Verify.sol";

/// @title Payment channels for all ERC-20 tokens in one immutable contract
/// @notice A direction's state is one message signed by its payer; who closes with less than it signed loses both
/// deposits. Rules, layouts and typed structs: docs/contracts.md.
contract Channels is IChannels, Tokens, Verify {
    uint256 private constant NONE = 0;
    uint256 private constant OPEN = 1;
    uint256 private constant CLOSING = 2;
    /// @dev Bit of the phase field: some leaf of this epoch was released. Without it nobody has to look for released leaves.
    uint256 private constant RELEASED = 4;

    /// @dev Indices into a closing record; + 1 for the direction that high pays (of agents: high's own).
    uint256 private constant HEAD = 0;
    uint256 private constant SIDES = 1;
    uint256 private constant STATES = 3;
    uint256 private constant AGENTS = 5;
    uint256 private constant DEPOSITS = 7;

    /// @dev Fields of the head by lowest bit: flags 8 | last expiry 40 | declared seq 64 | ticks of low 32, of high 32.
    uint256 private constant CLOSER_HIGH = 1;
    uint256 private constant UNKNOWN = 2;
    uint256 private constant FINED = 4;
    uint256 private constant LAST_EXPIRY = 8;
    uint256 private constant DECLARED = 48;
    uint256 private constant TICKS = 112;
    /// @dev Fields of a side: seq 64 | out 128 | leaves done 64.
    uint256 private constant OUT = 64;
    uint256 private constant DONE = 192;

    /// @dev Fields of a channel's word: deposits or the record's hash 192 | epoch 24 | time 36 | phase 4.
    uint256 private constant EPOCH = 192;
    uint256 private constant TIME = 216;
    uint256 private constant PHASE = 252;
    uint256 private constant TIME_MASK = 2 ** 36 - 1;

    /// @dev Limit of each deposit and of their sum: both fit a signed 96-bit field, and so does any difference.
    int256 private constant DEPOSIT_LIMIT = 2 ** 95;
    /// @dev The epoch's field; a channel that used them all can only be left behind.
    uint256 private constant EPOCH_MAX = 2 ** 24 - 1;
    /// @dev Longest time after the challenge that a lock can hold up a settlement. Without this limit a closer could
    /// declare a lock that never ends and take both deposits hostage.
    uint256 private constant LOCK_MAX = 60 days;
    /// @dev Hold in hours by index, 16 bits each, index 0 lowest: 1, 6, 12, 24, 72, 168, 336, 720, 1440.
    uint256 private constant HOLD_HOURS = 0x05a002d0015000a800480018000c00060001;
    uint256 private constant HOLDS = 9;
    uint256 private constant FACTOR_MAX = 8;
    /// @dev A tree has at most 64 leaves.
    uint256 private constant DEPTH_MAX = 6;
    /// @dev Share of the closer that an outdated unknown close costs: one in ten.
    int256 private constant FINE_DIVISOR = 10;

    bytes32 private constant STATE = keccak256(
        "State(bytes32 channel,uint32 epoch,address payer,uint64 seq,uint96 paid,bytes32 root,uint96 locked,uint40 lastExpiry,bytes32 tip,uint64 unit,uint32 max)"
    );
    bytes32 private constant WITHDRAW = keccak256(
        "Withdraw(bytes32 channel,uint32 epoch,address party,uint96 amount,address to,address agent,uint96 fee,uint40 expiry)"
    );
    bytes32 private constant COOP_CLOSE = keccak256(
        "CoopClose(bytes32 channel,uint32 epoch,uint96 lowAmount,uint96 highAmount,address lowTo,address highTo,address agent,uint96 fee,uint40 deadline)"
    );
    bytes32 private constant CLOSE = keccak256(
        "Close(bytes32 channel,uint32 epoch,address closer,bool unknown,bytes32 own,bytes32 partner,address agent,uint96 fee,uint40 deadline)"
    );
    bytes32 private constant MANDATE = keccak256(
        "Mandate(bytes32 channel,uint32 epoch,address party,bytes32 state,address agent,uint96 fee,uint40 deadline)"
    );
    bytes32 private constant RELEASE = keccak256("Release(bytes32 channel,uint32 epoch,address payer,bytes32 leaf)");
    bytes32 private constant DEPOSIT = keccak256(
        "Deposit(bytes32 channel,uint32 epoch,bool high,bytes32 locatorLow,bytes32 locatorHigh,address owner,uint96 amount,address agent,uint96 fee,uint256 nonce,uint40 deadline)"
    );
    bytes32 private constant LEAF = keccak256("Leaf(uint64 id,uint96 amount,uint40 expiry,bytes condition)");

    /// @dev Open: low deposit 96 | high deposit 96 | epoch 24 | time 36 | phase 4, from the lowest bit. Closing: the deposits
    /// stand in the record, and the record's hash, cut to 192 bits, stands in their place.
    mapping(bytes32 id => uint256) public words;
    mapping(address token => mapping(address account => uint256)) public credits;
    mapping(bytes32 key => bool) public voided;
    mapping(address owner => mapping(uint256 word => uint256)) public nonceBitmap;

    address public immutable conditions;

    constructor(address conditions_) Verify("SmartMesh Channels") {
        conditions = conditions_;
    }

    // ---------------------------------------------------------------- deposits

    function deposit(
        Channel calldata c,
        uint32 epoch,
        bool high,
        uint96 amount,
        bytes32 locatorLow,
        bytes32 locatorHigh
    ) external lock {
        _credit(c, epoch, high, _pull(c.token, msg.sender, amount), locatorLow, locatorHigh);
    }

    function depositFor(
        Channel calldata c,
        uint32 epoch,
        bool high,
        bytes32 locatorLow,
        bytes32 locatorHigh,
        DepositOrder calldata o,
        Signature calldata ownerSignature
    ) external lock {
        address agent = _agent(o.agent, o.deadline);
        uint256 bit = 1 << (o.nonce & 255);
        uint256 used = nonceBitmap[o.owner][o.nonce >> 8];
        if (used & bit != 0) revert NonceUsed();
        nonceBitmap[o.owner][o.nonce >> 8] = used | bit;
        // The arguments after the channel up to the order's last member lie in the calldata as EIP-712 hashes them.
        uint256 at;
        assembly {
            at := add(c, 160)
        }
        _verify(_structHash(DEPOSIT, _id(c), epoch, at, 288), ownerSignature, o.owner);
        uint256 got = _pull(c.token, o.owner, o.amount);
        if (got <= o.fee) revert BadAmount();
        _credit(c, epoch, high, got - o.fee, locatorLow, locatorHigh);
        _pay(c.token, agent, o.fee);
    }

    /// @notice ERC-1363: the calling token lets this contract take `value` from `owner`. Only that token is touched.
    function onApprovalReceived(address owner, uint256 value, bytes calldata data) external lock returns (bytes4) {
        if (data.length != 47 && data.length != 111) revert WrongState();
        Channel memory c;
        uint256 tail;
        bytes32 locatorLow;
        bytes32 locatorHigh;
        c.token = msg.sender;
        assembly ("memory-safe") {
            mstore(add(c, 32), shr(96, calldataload(data.offset)))
            mstore(add(c, 64), shr(96, calldataload(add(data.offset, 20))))
            mstore(add(c, 96), shr(240, calldataload(add(data.offset, 40))))
            tail := shr(216, calldataload(add(data.offset, 42)))
            if gt(data.length, 47) {
                locatorLow := calldataload(add(data.offset, 47))
                locatorHigh := calldataload(add(data.offset, 79))
            }
        }
        _credit(c, tail >> 8, uint8(tail) != 0, _pull(msg.sender, owner, value), locatorLow, locatorHigh);
        return this.onApprovalReceived.selector;
    }

    function _credit(
        Channel memory c,
        uint256 epoch,
        bool high,
        uint256 amount,
        bytes32 locatorLow,
        bytes32 locatorHigh
    ) private {
        bytes32 id;
        // The four members lie in memory as abi.encode lays them out.
        assembly ("memory-safe") {
            id := keccak256(c, 128)
        }
        uint256 word = words[id];
        if (epoch != _epoch(word) || epoch == EPOCH_MAX) revert WrongEpoch();
        uint256 phase = _phase(word);
        if (phase == CLOSING) revert WrongPhase();
        if (amount >= uint256(DEPOSIT_LIMIT)) revert BadAmount();
        bool opening = phase == NONE;
        if (opening) {
            // Of terms, the factor is the high byte and the index into the table the low one.
            if (c.low == address(0) || c.low >= c.high || !_known(c.terms)) revert BadParties();
            word |= OPEN << PHASE;
        }
        word = _add(word, high, int256(amount));
        words[id] = word;
        if (opening || locatorLow | locatorHigh != 0) {
            emit Opened(id, locatorLow, locatorHigh, c.token, c.low, c.high, c.terms, word);
        } else {
            emit Deposited(id, word);
        }
    }

    function _known(uint256 terms) private pure returns (bool) {
        return terms & 255 < HOLDS && terms > 255 && terms < (FACTOR_MAX + 1) << 8;
    }

    // ---------------------------------------------------------------- both agree

    function withdraw(
        Channel calldata c,
        Withdrawal calldata w,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external lock {
        bytes32 id = _id(c);
        uint256 word = _open(id);
        address agent = _agent(w.agent, w.expiry);
        if (w.expiry <= _time(word) || w.expiry > TIME_MASK) revert Expired();
        uint256 amount = w.amount;
        uint256 fee = w.fee;
        if (amount == 0 || fee > amount || amount > _total(word)) revert BadAmount();
        bool isHigh = w.party == c.high;
        if (!isHigh && w.party != c.low) revert BadParties();
        uint256 at;
        assembly {
            at := w
        }
        _verifyBoth(c, _structHash(WITHDRAW, id, _epoch(word), at, 192), lowSignature, highSignature);
        word = _add(word, isHigh, -int256(amount));
        word = (word & ~(TIME_MASK << TIME)) | (uint256(w.expiry) << TIME);
        words[id] = word;
        emit Withdrawn(id, word);
        address token = c.token;
        unchecked {
            _pay(token, w.to, amount - fee);
        }
        _pay(token, agent, fee);
    }

    function coopClose(
        Channel calldata c,
        Payouts calldata p,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external lock {
        bytes32 id = _id(c);
        uint256 word = _open(id);
        _coopClose(c, p, lowSignature, highSignature, id, word, word);
    }

    function coopCloseDisputed(
        Channel calldata c,
        uint256[8] calldata k,
        Payouts calldata p,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external lock {
        (bytes32 id, uint256 word) = _closing(c, k);
        _coopClose(c, p, lowSignature, highSignature, id, word, k[DEPOSITS]);
    }

    function _coopClose(
        Channel calldata c,
        Payouts calldata p,
        Signature calldata lowSignature,
        Signature calldata highSignature,
        bytes32 id,
        uint256 word,
        uint256 deposits
    ) private {
        address agent = _agent(p.agent, p.deadline);
        uint256 low = p.lowAmount;
        uint256 high = p.highAmount;
        uint256 fee = p.fee;
        unchecked {
            // Each is below 2^96.
            if (low + high + fee != _total(deposits)) revert BadAmount();
        }
        uint256 at;
        assembly {
            at := p
        }
        _verifyBoth(c, _structHash(COOP_CLOSE, id, _epoch(word), at, 224), lowSignature, highSignature);
        _end(id, word);
        emit Settled(id, low, high);
        address token = c.token;
        _pay(token, p.lowTo, low);
        _pay(token, p.highTo, high);
        _pay(token, agent, fee);
    }

    // ---------------------------------------------------------------- close and challenge

    function close(
        Channel calldata c,
        bool closerHigh,
        State calldata own,
        State calldata partner,
        Signature calldata partnerSignature,
        Mandate[] calldata mandate
    ) external lock {
        _close(c, closerHigh ? CLOSER_HIGH : 0, own, partner, partnerSignature, mandate);
    }

    function closeUnknown(
        Channel calldata c,
        bool closerHigh,
        State calldata own,
        State calldata partner,
        Signature calldata partnerSignature,
        Mandate[] calldata mandate
    ) external lock {
        _close(c, (closerHigh ? CLOSER_HIGH : 0) | UNKNOWN, own, partner, partnerSignature, mandate);
    }

    function _close(
        Channel calldata c,
        uint256 flags,
        State calldata own,
        State calldata partner,
        Signature calldata partnerSignature,
        Mandate[] calldata mandate
    ) private {
        bytes32 id = _id(c);
        uint256 word = _open(id);
        uint256 epoch = _epoch(word);
        uint256 end = block.timestamp + _hold(c) * (flags & UNKNOWN != 0 ? c.terms >> 8 : 1);

        uint256[8] memory k;
        k[HEAD] = flags | (uint256(own.seq) << DECLARED);
        k[DEPOSITS] = uint192(word);
        uint256 p = flags & CLOSER_HIGH;
        address closer = _party(c, p);
        _place(k, p, id, epoch, closer, own, end);
        address other = _party(c, p ^ 1);
        _place(k, p ^ 1, id, epoch, other, partner, end);
        if (partner.seq != 0) _verify(bytes32(k[STATES + (p ^ 1)]), partnerSignature, other);
        if (mandate.length == 0) {
            if (msg.sender != closer) revert BadSignature();
        } else {
            Mandate calldata m = mandate[0];
            k[AGENTS + p] = _order(m);
            bytes32 h = keccak256(
                abi.encode(
                    CLOSE,
                    id,
                    epoch,
                    closer,
                    flags & UNKNOWN != 0,
                    k[STATES + p],
                    k[STATES + (p ^ 1)],
                    m.agent,
                    m.fee,
                    m.deadline
                )
            );
            _verify(h, m.signature, closer);
        }

        // The phase rises from open to closing; a mark of released leaves stays.
        word = _store(id, (word & ~(TIME_MASK << TIME)) + (end << TIME) + ((CLOSING - OPEN) << PHASE), k);
        emit Closed(id, word, k);
    }

    function update(
        Channel calldata c,
        uint256[8] memory k,
        bool payerHigh,
        State calldata s,
        Signature calldata payerSignature,
        Mandate[] calldata mandate
    ) external lock {
        (bytes32 id, uint256 word) = _challenged(c, k);
        uint256 p = payerHigh ? 1 : 0;
        uint256 seq = uint64(k[SIDES + p]);
        if (k[HEAD] & CLOSER_HIGH == p) {
            // What the closer declared gives way to any message its payee prefers, then only to newer ones.
            uint256 declared = uint64(k[HEAD] >> DECLARED);
            if (seq == declared ? s.seq == declared : s.seq <= seq) revert WrongState();
            if (s.seq > declared) {
                if (k[HEAD] & UNKNOWN == 0) revert Contradiction();
                k[HEAD] |= FINED;
            }
        } else if (s.seq <= seq) {
            revert WrongState();
        }
        if (s.seq == 0) revert WrongState();

        address payer = _party(c, p);
        _place(k, p, id, _epoch(word), payer, s, _time(word));
        _verify(bytes32(k[STATES + p]), payerSignature, payer);
        if (mandate.length == 0) {
            if (msg.sender != _party(c, p ^ 1)) revert BadSignature();
        } else {
            _name(c, k, p ^ 1, id, _epoch(word), k[STATES + p], mandate);
        }
        _store(id, word, k);
        emit Updated(id, k);
    }

    function forfeit(
        Channel calldata c,
        uint256[8] memory k,
        State calldata s,
        Signature calldata closerSignature,
        Mandate[] calldata mandate
    ) external lock {
        (bytes32 id, uint256 word) = _challenged(c, k);
        uint256 p = k[HEAD] & CLOSER_HIGH;
        uint256 declared = uint64(k[HEAD] >> DECLARED);
        address closer = _party(c, p);
        bytes32 state = _stateHash(id, _epoch(word), closer, s);
        bool contradicts;
        if (s.seq > declared) {
            contradicts = k[HEAD] & UNKNOWN == 0;
        } else if (uint64(k[SIDES + p]) == declared && s.seq != 0) {
            contradicts =
                s.seq == declared ? uint256(state) != k[STATES + p] : s.paid > uint128(k[SIDES + p] >> OUT);
        }
        if (!contradicts) revert NoContradiction();
        _verify(state, closerSignature, closer);
        p ^= 1;
        _name(c, k, p, id, _epoch(word), 0, mandate);

        uint256 total = _total(k[DEPOSITS]);
        _end(id, word);
        emit Forfeited(id, _party(c, p), total);
        _share(c.token, _party(c, p), total, k[AGENTS + p]);
    }

    // ---------------------------------------------------------------- conditions and ticks

    function voidLeaf(
        Channel calldata c,
        uint32 epoch,
        bool payerHigh,
        bytes32 leaf,
        Signature calldata payeeSignature
    ) external {
        bytes32 id = _id(c);
        uint256 word = words[id];
        if (epoch != _epoch(word)) revert WrongEpoch();
        if (_phase(word) == NONE) revert WrongPhase();
        uint256 p = payerHigh ? 1 : 0;
        address payer = _party(c, p);
        _verify(keccak256(abi.encode(RELEASE, id, epoch, payer, leaf)), payeeSignature, _party(c, p ^ 1));
        words[id] = word | (RELEASED << PHASE);
        voided[_voidKey(_direction(id, epoch, payer), leaf)] = true;
        emit Voided(id, leaf);
    }

    function _direction(bytes32 id, uint256 epoch, address payer) private pure returns (bytes32) {
        return keccak256(abi.encode(id, epoch, payer));
    }

    function _voidKey(bytes32 direction, bytes32 leaf) private pure returns (bytes32) {
        return _pair(direction, leaf);
    }

    function unlock(
        Channel calldata c,
        uint256[8] memory k,
        bool payerHigh,
        State calldata s,
        Claim[] calldata claims,
        uint256 depth,
        bytes32[] calldata proof,
        Mandate[] calldata mandate
    ) external lock {
        uint256 p = payerHigh ? 1 : 0;
        (bytes32 id, uint256 word) = _unlocking(c, k, p, s, mandate);
        uint256 side = k[SIDES + p];
        bytes32 direction;
        if (word >> PHASE & RELEASED != 0) direction = _direction(id, _epoch(word), _party(c, p));
        bytes32[] memory leaves = new bytes32[](claims.length);
        uint256 out = uint128(side >> OUT);
        unchecked {
            // 64 claims at most get through below, each under 2^96.
            for (uint256 i = 0; i < claims.length; i++) {
                Claim calldata l = claims[i];
                uint256 bit = 1 << (DONE + uint256(l.index));
                if (side & bit != 0) revert BadLeaf();
                side |= bit;
                out += l.amount;
                bytes calldata condition = l.condition;
                bytes32 leaf = _leaf(l, condition);
                leaves[i] = leaf;
                if (direction != 0 && voided[_voidKey(direction, leaf)]) revert BadLeaf();
                if (!_satisfied(condition, l.witness, l.expiry)) revert NotFulfilled();
            }
            // What the message itself fixes: paid and the ticks redeemed. The rest of `out` are leaves.
            uint256 limit = s.paid + uint256(uint32(k[HEAD] >> (TICKS + 32 * p))) * s.unit + s.locked;
            if (out > limit || !_inTree(claims, leaves, depth, proof, s.root)) revert BadLeaf();
        }
        side = (side & ~(uint256(type(uint128).max) << OUT)) | (out << OUT);
        k[SIDES + p] = side;
        _store(id, word, k);
        if (mandate.length != 0) emit Named(id, !payerHigh, k[AGENTS + (p ^ 1)]);
        emit Unlocked(id, payerHigh, side);
    }

    /// @dev Id, amount and expiry lie in the calldata as they are hashed; amount and expiry are checked where they are
    /// read, an id of more than 64 bits is in no tree that a payee accepts.
    function _leaf(Claim calldata l, bytes calldata condition) private pure returns (bytes32 leaf) {
        bytes32 typeHash = LEAF;
        assembly ("memory-safe") {
            let at := mload(64)
            calldatacopy(at, condition.offset, condition.length)
            let inner := keccak256(at, condition.length)
            mstore(at, typeHash)
            calldatacopy(add(at, 32), add(l, 32), 96)
            mstore(add(at, 128), inner)
            leaf := keccak256(at, 160)
        }
    }

    /// @dev A hash lock opened by its preimage is judged here, as Conditions would; everything else there.
    function _satisfied(bytes calldata condition, bytes calldata witness, uint40 expiry) private view returns (bool) {
        if (condition.length == 33 && witness.length == 32 && condition[0] == 0x01) {
            return block.timestamp < expiry && _sha256(bytes32(witness)) == bytes32(condition[1:33]);
        }
        return IConditions(conditions).satisfied(condition, witness, expiry);
    }

    /// @dev One proof for all leaves of a call, which come by rising index: level by level each node is joined with its
    /// neighbour in the list, or with the next sibling of the proof. `nodes` is used up.
    function _inTree(
        Claim[] calldata claims,
        bytes32[] memory nodes,
        uint256 depth,
        bytes32[] calldata proof,
        bytes32 root
    ) private pure returns (bool) {
        uint256 count = nodes.length;
        if (count == 0 || depth > DEPTH_MAX) return false;
        uint256[] memory indices = new uint256[](count);
        // Counts here stay below the lengths of the arrays, which are checked.
        unchecked {
            uint256 least = 0;
            for (uint256 i = 0; i < count; i++) {
                uint256 index = claims[i].index;
                if (index >> depth != 0 || index < least) return false;
                indices[i] = index;
                least = index + 1;
            }
            uint256 used = 0;
            for (; depth != 0; depth--) {
                uint256 kept = 0;
                for (uint256 i = 0; i < count; i++) {
                    uint256 index = indices[i];
                    bytes32 node = nodes[i];
                    if (index & 1 == 1) {
                        node = _pair(proof[used++], node);
                    } else if (i + 1 < count && indices[i + 1] == index + 1) {
                        node = _pair(node, nodes[++i]);
                    } else {
                        node = _pair(node, proof[used++]);
                    }
                    indices[kept] = index >> 1;
                    nodes[kept++] = node;
                }
                count = kept;
            }
            return used == proof.length && nodes[0] == root;
        }
    }

    function redeem(
        Channel calldata c,
        uint256[8] memory k,
        bool payerHigh,
        State calldata s,
        bytes32 preimage,
        uint32 n,
        Mandate[] calldata mandate
    ) external lock {
        uint256 p = payerHigh ? 1 : 0;
        (bytes32 id, uint256 word) = _unlocking(c, k, p, s, mandate);
        uint256 shift = TICKS + 32 * p;
        uint256 ticks = uint32(k[HEAD] >> shift);
        if (n > s.max || n <= ticks) revert BadTicks();
        unchecked {
            for (uint256 i = 0; i < n; i++) {
                preimage = _sha256(preimage);
            }
            if (preimage != s.tip) revert BadTicks();
            // Below 2^96 each for paid, leaves and ticks: the sum fits its 128 bits.
            ticks = n - ticks;
            k[SIDES + p] += (ticks * s.unit) << OUT;
            k[HEAD] += ticks << shift;
        }
        _store(id, word, k);
        emit Redeemed(id, k);
    }

    /// @dev Common part of unlock and redeem, which are for the payee's benefit, so that anybody may call them.
    function _unlocking(
        Channel calldata c,
        uint256[8] memory k,
        uint256 p,
        State calldata s,
        Mandate[] calldata mandate
    ) private view returns (bytes32 id, uint256 word) {
        (id, word) = _closing(c, k);
        uint256 end = _time(word);
        if (block.timestamp < end || block.timestamp >= _settleTime(c, k, end)) revert WrongPhase();
        if (uint256(_stateHash(id, _epoch(word), _party(c, p), s)) != k[STATES + p]) revert WrongState();
        _name(c, k, p ^ 1, id, _epoch(word), 0, mandate);
    }

    // ---------------------------------------------------------------- settlement

    function settle(Channel calldata c, uint256[8] calldata k) external lock {
        if (!_settle(c, k)) revert WrongPhase();
    }

    function settleBatch(Channel[] calldata cs, uint256[8][] calldata ks) external lock returns (uint256 settled) {
        for (uint256 i = 0; i < cs.length; i++) {
            if (_settle(cs[i], ks[i])) settled++;
        }
    }

    /// @dev False if the channel cannot be settled now with this record.
    function _settle(Channel calldata c, uint256[8] memory k) private returns (bool) {
        bytes32 id = _id(c);
        uint256 word = words[id];
        if (_phase(word) != CLOSING || !_matches(word, k)) return false;
        if (block.timestamp < _settleTime(c, k, _time(word))) return false;

        int256 total = int256(_total(k[DEPOSITS]));
        int256 low;
        unchecked {
            // Deposits are below 2^95 and what was paid below 2^128 in size.
            low = int256(int96(uint96(k[DEPOSITS]))) + int256(uint256(uint128(k[SIDES + 1] >> OUT)))
                - int256(uint256(uint128(k[SIDES] >> OUT)));
            if (low < 0) low = 0;
            if (low > total) low = total;
            if (k[HEAD] & FINED != 0) {
                low += (k[HEAD] & CLOSER_HIGH != 0 ? total - low : -low) / FINE_DIVISOR;
            }
            total -= low;
        }
        _end(id, word);
        emit Settled(id, uint256(low), uint256(total));
        _share(c.token, c.low, uint256(low), k[AGENTS]);
        _share(c.token, c.high, uint256(total), k[AGENTS + 1]);
        return true;
    }

    /// @dev Pays a party its share, and its agent out of that share.
    function _share(address token, address party, uint256 amount, uint256 order) private {
        uint256 fee = _min(order >> 160, amount);
        _pay(token, address(uint160(order)), fee);
        unchecked {
            _pay(token, party, amount - fee);
        }
    }

    function claim(address token, address account, address to) external lock {
        if (to != account && msg.sender != account) revert WrongAgent();
        uint256 amount = credits[token][account];
        if (amount == 0) revert BadAmount();
        credits[token][account] = 0;
        if (!_push(token, to, amount)) revert TokenFailed();
        emit Claimed(token, account, to, amount);
    }

    // ---------------------------------------------------------------- words and records

    function _phase(uint256 word) private pure returns (uint256) {
        return (word >> PHASE) & 3;
    }

    function _time(uint256 word) private pure returns (uint256) {
        return (word >> TIME) & TIME_MASK;
    }

    function _epoch(uint256 word) private pure returns (uint256) {
        return uint24(word >> EPOCH);
    }

    /// @dev Both deposits; never negative.
    function _total(uint256 word) private pure returns (uint256) {
        unchecked {
            return uint256(int256(int96(uint96(word))) + int256(int96(uint96(word >> 96))));
        }
    }

    /// @dev Changes one deposit by less than 2^95, up or down, within the limits.
    function _add(uint256 word, bool high, int256 amount) private pure returns (uint256) {
        uint256 shift = high ? 96 : 0;
        unchecked {
            int256 side = int256(int96(uint96(word >> shift))) + amount;
            if (side >= DEPOSIT_LIMIT || int256(_total(word)) + amount >= DEPOSIT_LIMIT) revert BadAmount();
            return (word & ~(uint256(type(uint96).max) << shift)) | (uint256(uint96(int96(side))) << shift);
        }
    }

    /// @dev Ends the epoch; what was signed in it is worth nothing from now on.
    function _end(bytes32 id, uint256 word) private {
        words[id] = (_epoch(word) + 1) << EPOCH;
    }

    function _open(bytes32 id) private view returns (uint256 word) {
        word = words[id];
        if (_phase(word) != OPEN) revert WrongPhase();
    }

    /// @dev Keeps the record's hash in the word, and the rest of the word as it is given.
    function _store(bytes32 id, uint256 word, uint256[8] memory k) private returns (uint256) {
        word = ((word >> EPOCH) << EPOCH) | _hash(k);
        words[id] = word;
        return word;
    }

    function _matches(uint256 word, uint256[8] memory k) private pure returns (bool) {
        return uint192(word) == _hash(k);
    }

    function _closing(Channel calldata c, uint256[8] memory k) private view returns (bytes32 id, uint256 word) {
        id = _id(c);
        word = words[id];
        if (_phase(word) != CLOSING) revert WrongPhase();
        if (!_matches(word, k)) revert WrongClosing();
    }

    function _challenged(Channel calldata c, uint256[8] memory k) private view returns (bytes32 id, uint256 word) {
        (id, word) = _closing(c, k);
        if (block.timestamp >= _time(word)) revert WrongPhase();
    }

    /// @dev 192 bits: whoever looks for two records with one hash tries 2^96 times, more than for two keys with one address.
    function _hash(uint256[8] memory k) private pure returns (uint256 hash) {
        assembly ("memory-safe") {
            hash := shr(64, keccak256(k, 256))
        }
    }

    /// @dev The four members lie in the calldata as abi.encode lays them out. One with dirty upper bits names a channel
    /// that no deposit can open.
    function _id(Channel calldata c) private pure returns (bytes32 id) {
        assembly ("memory-safe") {
            let data := mload(64)
            calldatacopy(data, c, 128)
            id := keccak256(data, 128)
        }
    }

    function _party(Channel calldata c, uint256 p) private pure returns (address) {
        return p == 0 ? c.low : c.high;
    }

    function _hold(Channel calldata c) private pure returns (uint256) {
        unchecked {
            return ((HOLD_HOURS >> (uint256(c.terms & 255) << 4)) & 0xffff) * 1 hours;
        }
    }

    function _settleTime(Channel calldata c, uint256[8] memory k, uint256 end) private pure returns (uint256) {
        uint256 lastExpiry = uint40(k[HEAD] >> LAST_EXPIRY);
        unchecked {
            return (lastExpiry > end ? lastExpiry : end) + _hold(c) / 4;
        }
    }

    /// @dev Puts a message in place. Seq 0 stands for no message and must be empty. The message's locks keep the channel
    /// open, but not for longer than `LOCK_MAX` after the challenge's `end`.
    function _place(
        uint256[8] memory k,
        uint256 p,
        bytes32 id,
        uint256 epoch,
        address payer,
        State calldata s,
        uint256 end
    ) private pure {
        if (s.seq == 0) {
            uint256 content = s.paid | s.locked | s.lastExpiry | s.unit | s.max;
            if (content | uint256(s.root) | uint256(s.tip) != 0) revert WrongState();
        }
        k[SIDES + p] = s.seq | (uint256(s.paid) << OUT);
        k[STATES + p] = uint256(_stateHash(id, epoch, payer, s));
        unchecked {
            uint256 lastExpiry = _min(s.lastExpiry, end + LOCK_MAX);
            uint256 head = k[HEAD];
            uint256 present = uint40(head >> LAST_EXPIRY);
            if (lastExpiry > present) k[HEAD] = head + ((lastExpiry - present) << LAST_EXPIRY);
        }
    }

    // ---------------------------------------------------------------- signatures and orders

    /// @dev EIP-712 hash of a struct that begins with channel and epoch; its other members lie in the calldata as they are
    /// hashed, `size` bytes at `at`. Each of them is read as its own type elsewhere, which refuses dirty upper bits.
    function _structHash(bytes32 typeHash, bytes32 id, uint256 epoch, uint256 at, uint256 size)
        private
        pure
        returns (bytes32 hash)
    {
        assembly ("memory-safe") {
            let data := mload(64)
            mstore(data, typeHash)
            mstore(add(data, 32), id)
            mstore(add(data, 64), epoch)
            calldatacopy(add(data, 96), at, size)
            hash := keccak256(data, add(size, 96))
        }
    }

    /// @dev The eight members of a State lie in the calldata as EIP-712 hashes them, one word each.
    function _stateHash(bytes32 id, uint256 epoch, address payer, State calldata s)
        private
        pure
        returns (bytes32 hash)
    {
        bytes32 typeHash = STATE;
        assembly ("memory-safe") {
            let at := mload(64)
            mstore(at, typeHash)
            mstore(add(at, 32), id)
            mstore(add(at, 64), epoch)
            mstore(add(at, 96), payer)
            calldatacopy(add(at, 128), s, 256)
            hash := keccak256(at, 384)
        }
    }

    /// @dev Records whom party `p` orders to act, if it does, after its signature; a later order replaces an earlier one.
    function _name(
        Channel calldata c,
        uint256[8] memory k,
        uint256 p,
        bytes32 id,
        uint256 epoch,
        uint256 state,
        Mandate[] calldata mandate
    ) private view {
        if (mandate.length == 0) return;
        Mandate calldata m = mandate[0];
        address party = _party(c, p);
        k[AGENTS + p] = _order(m);
        _verify(keccak256(abi.encode(MANDATE, id, epoch, party, state, m.agent, m.fee, m.deadline)), m.signature, party);
    }

    function _order(Mandate calldata m) private view returns (uint256) {
        return uint160(_agent(m.agent, m.deadline)) | (uint256(m.fee) << 160);
    }

    /// @dev Who earns the fee: the agent that was named, or whoever submits if none was.
    function _agent(address named, uint256 deadline) private view returns (address) {
        if (block.timestamp >= deadline) revert Expired();
        if (named != address(0) && named != msg.sender) revert WrongAgent();
        return msg.sender;
    }

    function _verify(bytes32 structHash, Signature calldata signature, address signer) private view {
        _verify(structHash, signature.r, signature.vs, signer);
    }

    function _verifyBoth(Channel calldata c, bytes32 structHash, Signature calldata low, Signature calldata high)
        private
        view
    {
        bytes32 digest = _digest(structHash);
        if (!_signedDigest(digest, low.r, low.vs, c.low) || !_signedDigest(digest, high.r, high.vs, c.high)) {
            revert BadSignature();
        }
    }

    /// @dev What a token refuses becomes a credit, so that nobody's payout waits for somebody else's.
    function _pay(address token, address to, uint256 amount) private {
        if (amount == 0) return;
        if (to == address(0)) revert BadParties();
        if (!_push(token, to, amount)) {
            credits[token][to] += amount;
            emit Credited(token, to, amount);
        }
    }

    // ---------------------------------------------------------------- hashes

    function _pair(bytes32 left, bytes32 right) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, left)
            mstore(32, right)
            hash := keccak256(0, 64)
        }
    }

    function _sha256(bytes32 word) private view returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, word)
            if iszero(staticcall(gas(), 2, 0, 32, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
