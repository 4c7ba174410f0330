// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
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

    /// @dev Indices into a closing record; + 1 for the direction that high pays (of agents: high's own).
    uint256 private constant HEAD = 0;
    uint256 private constant SIDES = 1;
    uint256 private constant STATES = 3;
    uint256 private constant AGENTS = 5;

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
        "Deposit(address owner,bytes32 channel,uint32 epoch,bool high,uint96 amount,bytes32 locatorLow,bytes32 locatorHigh,address agent,uint96 fee,uint256 nonce,uint40 deadline)"
    );
    bytes32 private constant LEAF = keccak256("Leaf(uint64 id,uint96 amount,uint40 expiry,bytes condition)");

    /// @dev Low deposit 96 | high deposit 96 | epoch 24 | time 36 | phase 4, from the lowest bit.
    mapping(bytes32 id => uint256) private words;
    mapping(bytes32 id => bytes32) public closingHash;
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
        DepositOrder calldata o,
        bytes32 locatorLow,
        bytes32 locatorHigh
    ) external lock {
        address agent = _agent(o.agent, o.deadline);
        uint256 bit = 1 << (o.nonce & 255);
        uint256 used = nonceBitmap[o.owner][o.nonce >> 8];
        if (used & bit != 0) revert NonceUsed();
        nonceBitmap[o.owner][o.nonce >> 8] = used | bit;
        _verify(
            keccak256(
                bytes.concat(
                    abi.encode(DEPOSIT, o.owner, _id(c), epoch, high, o.amount),
                    abi.encode(locatorLow, locatorHigh, o.agent, o.fee, o.nonce, o.deadline)
                )
            ),
            o.signature.r,
            o.signature.vs,
            o.owner
        );
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
        bytes32 id = _idOf(c);
        (int256 low_, int256 high_, uint256 epoch_, uint256 time, uint256 phase) = _unpack(words[id]);
        if (epoch != epoch_ || epoch == EPOCH_MAX) revert WrongEpoch();
        if (phase == CLOSING) revert WrongPhase();
        if (phase == NONE) {
            if (c.low == address(0) || c.low >= c.high) revert BadParties();
            uint256 factor = c.terms >> 8;
            if (c.terms & 255 >= HOLDS || factor == 0 || factor > FACTOR_MAX) revert BadParties();
        }
        if (phase == NONE || locatorLow | locatorHigh != 0) {
            emit Opened(id, locatorLow, locatorHigh, c.token, c.low, c.high, c.terms);
        }
        if (amount >= uint256(DEPOSIT_LIMIT)) revert BadAmount();
        unchecked {
            // All three are below 2^96 in size.
            if (high) high_ += int256(amount);
            else low_ += int256(amount);
            if (low_ >= DEPOSIT_LIMIT || high_ >= DEPOSIT_LIMIT || low_ + high_ >= DEPOSIT_LIMIT) revert BadAmount();
        }
        uint256 word = _pack(low_, high_, epoch, time, OPEN);
        words[id] = word;
        emit Deposited(id, word);
    }

    // ---------------------------------------------------------------- both agree

    function withdraw(
        Channel calldata c,
        Withdrawal calldata w,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external lock {
        bytes32 id = _id(c);
        (int256 low, int256 high, uint256 epoch, uint256 time, uint256 phase) = _unpack(words[id]);
        if (phase != OPEN) revert WrongPhase();
        address agent = _agent(w.agent, w.expiry);
        if (w.expiry <= time || w.expiry > TIME_MASK) revert Expired();
        int256 amount = int256(uint256(w.amount));
        if (w.amount == 0 || w.fee > w.amount || amount > low + high) revert BadAmount();
        bool isHigh = w.party == c.high;
        if (!isHigh && w.party != c.low) revert BadParties();
        _verifyBoth(
            c,
            keccak256(abi.encode(WITHDRAW, id, epoch, w.party, w.amount, w.to, w.agent, w.fee, w.expiry)),
            lowSignature,
            highSignature
        );
        if (isHigh) high -= amount;
        else low -= amount;
        uint256 word = _pack(low, high, epoch, w.expiry, OPEN);
        words[id] = word;
        emit Withdrawn(id, word);
        _pay(c.token, w.to, w.amount - w.fee);
        _pay(c.token, agent, w.fee);
    }

    function coopClose(
        Channel calldata c,
        Payouts calldata p,
        Signature calldata lowSignature,
        Signature calldata highSignature
    ) external lock {
        bytes32 id = _id(c);
        uint256 word = words[id];
        if (word >> 252 == NONE) revert WrongPhase();
        address agent = _agent(p.agent, p.deadline);
        if (uint256(p.lowAmount) + p.highAmount + p.fee != _total(word)) revert BadAmount();
        _verifyBoth(
            c,
            keccak256(
                abi.encode(
                    COOP_CLOSE,
                    id,
                    uint256(uint24(word >> 192)),
                    p.lowAmount,
                    p.highAmount,
                    p.lowTo,
                    p.highTo,
                    p.agent,
                    p.fee,
                    p.deadline
                )
            ),
            lowSignature,
            highSignature
        );
        _end(id, word);
        emit Settled(id, p.lowAmount, p.highAmount);
        _pay(c.token, p.lowTo, p.lowAmount);
        _pay(c.token, p.highTo, p.highAmount);
        _pay(c.token, agent, p.fee);
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
        uint256 word = words[id];
        if (word >> 252 != OPEN) revert WrongPhase();
        uint256 epoch = uint24(word >> 192);
        uint256 end = block.timestamp + _hold(c) * (flags & UNKNOWN != 0 ? c.terms >> 8 : 1);
        words[id] = word = uint216(word) | (end << 216) | (CLOSING << 252);

        uint256[7] memory k;
        k[HEAD] = flags | (uint256(own.seq) << DECLARED);
        uint256 p = flags & CLOSER_HIGH;
        address closer = _party(c, p);
        _place(k, p, id, epoch, closer, own, end);
        _placePartner(c, k, p ^ 1, id, epoch, partner, partnerSignature, end);
        if (mandate.length == 0) {
            if (msg.sender != closer) revert BadSignature();
        } else {
            _verifyClose(k, p, id, epoch, closer, flags, mandate[0]);
        }

        closingHash[id] = _hash(k);
        emit Closed(id, word, k);
    }

    function _placePartner(
        Channel calldata c,
        uint256[7] memory k,
        uint256 p,
        bytes32 id,
        uint256 epoch,
        State calldata s,
        Signature calldata signature,
        uint256 end
    ) private view {
        address partner = _party(c, p);
        _place(k, p, id, epoch, partner, s, end);
        if (s.seq != 0) _verify(bytes32(k[STATES + p]), signature.r, signature.vs, partner);
    }

    function _verifyClose(
        uint256[7] memory k,
        uint256 p,
        bytes32 id,
        uint256 epoch,
        address closer,
        uint256 flags,
        Mandate calldata m
    ) private view {
        k[AGENTS + p] = _order(m);
        bool unknown = flags & UNKNOWN != 0;
        _verify(
            keccak256(
                abi.encode(
                    CLOSE, id, epoch, closer, unknown, k[STATES + p], k[STATES + (p ^ 1)], m.agent, m.fee, m.deadline
                )
            ),
            m.signature.r,
            m.signature.vs,
            closer
        );
    }

    function update(
        Channel calldata c,
        uint256[7] memory k,
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
        _place(k, p, id, uint24(word >> 192), payer, s, (word >> 216) & TIME_MASK);
        _verify(bytes32(k[STATES + p]), payerSignature.r, payerSignature.vs, payer);
        address payee = _party(c, p ^ 1);
        if (mandate.length == 0) {
            if (msg.sender != payee) revert BadSignature();
        } else {
            _name(k, p ^ 1, id, uint24(word >> 192), payee, k[STATES + p], mandate[0]);
        }
        closingHash[id] = _hash(k);
        emit Updated(id, k);
    }

    function forfeit(
        Channel calldata c,
        uint256[7] memory k,
        State calldata s,
        Signature calldata closerSignature,
        Mandate[] calldata mandate
    ) external lock {
        (bytes32 id, uint256 word) = _challenged(c, k);
        uint256 p = k[HEAD] & CLOSER_HIGH;
        uint256 declared = uint64(k[HEAD] >> DECLARED);
        address closer = _party(c, p);
        bytes32 state = _stateHash(id, uint24(word >> 192), closer, s);
        bool contradicts;
        if (s.seq > declared) {
            contradicts = k[HEAD] & UNKNOWN == 0;
        } else if (uint64(k[SIDES + p]) == declared && s.seq != 0) {
            contradicts =
                s.seq == declared ? uint256(state) != k[STATES + p] : s.paid > uint128(k[SIDES + p] >> OUT);
        }
        if (!contradicts) revert NoContradiction();
        _verify(state, closerSignature.r, closerSignature.vs, closer);
        address victim = _party(c, p ^ 1);
        if (mandate.length != 0) _name(k, p ^ 1, id, uint24(word >> 192), victim, 0, mandate[0]);

        uint256 total = _total(word);
        _end(id, word);
        emit Forfeited(id, victim, total);
        _share(c.token, victim, total, k[AGENTS + (p ^ 1)]);
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
        uint256 p = payerHigh ? 1 : 0;
        address payer = _party(c, p);
        _verify(
            keccak256(abi.encode(RELEASE, id, epoch, payer, leaf)),
            payeeSignature.r,
            payeeSignature.vs,
            _party(c, p ^ 1)
        );
        voided[keccak256(abi.encode(keccak256(abi.encode(id, epoch, payer)), leaf))] = true;
        emit Voided(id, leaf);
    }

    function unlock(
        Channel calldata c,
        uint256[7] memory k,
        bool payerHigh,
        State calldata s,
        Claim[] calldata claims,
        uint256 depth,
        bytes32[] calldata proof,
        Mandate[] calldata mandate
    ) external lock {
        uint256 p = payerHigh ? 1 : 0;
        (bytes32 id, uint256 epoch) = _unlocking(c, k, p, s, mandate);
        uint256 side = k[SIDES + p];
        // What the message itself fixes: paid and the ticks redeemed. The rest of `out` are leaves.
        uint256 limit = s.paid + uint256(uint32(k[HEAD] >> (TICKS + 32 * p))) * s.unit + s.locked;
        uint256 out = uint128(side >> OUT);
        bytes32[] memory leaves = _leaves(keccak256(abi.encode(id, epoch, _party(c, p))), claims);
        for (uint256 i = 0; i < claims.length; i++) {
            uint256 bit = 1 << (DONE + uint256(claims[i].index));
            if (side & bit != 0) revert BadLeaf();
            side |= bit;
            out += claims[i].amount;
        }
        if (out > limit || !_inTree(claims, leaves, depth, proof, s.root)) revert BadLeaf();
        k[SIDES + p] = (side & ~(uint256(type(uint128).max) << OUT)) | (out << OUT);
        closingHash[id] = _hash(k);
        emit Unlocked(id, k);
    }

    /// @dev Hashes of the claimed leaves; reverts if one was released or is not fulfilled.
    function _leaves(bytes32 direction, Claim[] calldata claims) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](claims.length);
        for (uint256 i = 0; i < claims.length; i++) {
            Claim calldata l = claims[i];
            bytes32 leaf = keccak256(abi.encode(LEAF, l.id, l.amount, l.expiry, keccak256(l.condition)));
            if (voided[keccak256(abi.encode(direction, leaf))]) revert BadLeaf();
            if (!_satisfied(l)) revert NotFulfilled();
            leaves[i] = leaf;
        }
    }

    /// @dev A hash lock opened by its preimage is judged here, as Conditions would; everything else there.
    function _satisfied(Claim calldata l) private view returns (bool) {
        if (l.condition.length == 33 && l.witness.length == 32 && l.condition[0] == 0x01) {
            return block.timestamp < l.expiry && sha256(l.witness) == bytes32(l.condition[1:33]);
        }
        return IConditions(conditions).satisfied(l.condition, l.witness, l.expiry);
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
        for (uint256 i = 0; i < count; i++) {
            indices[i] = claims[i].index;
            if (indices[i] >> depth != 0 || (i != 0 && indices[i] <= indices[i - 1])) return false;
        }
        uint256 used = 0;
        // Counts here stay below the lengths of the arrays, which are checked.
        unchecked {
            for (; depth != 0; depth--) {
                uint256 kept = 0;
                for (uint256 i = 0; i < count; i++) {
                    uint256 index = indices[i];
                    bytes32 node = nodes[i];
                    if (index & 1 == 1) {
                        node = Hashes.efficientKeccak256(proof[used++], node);
                    } else if (i + 1 < count && indices[i + 1] == index + 1) {
                        node = Hashes.efficientKeccak256(node, nodes[++i]);
                    } else {
                        node = Hashes.efficientKeccak256(node, proof[used++]);
                    }
                    indices[kept] = index >> 1;
                    nodes[kept++] = node;
                }
                count = kept;
            }
        }
        return used == proof.length && nodes[0] == root;
    }

    function redeem(
        Channel calldata c,
        uint256[7] memory k,
        bool payerHigh,
        State calldata s,
        bytes32 preimage,
        uint32 n,
        Mandate[] calldata mandate
    ) external lock {
        uint256 p = payerHigh ? 1 : 0;
        (bytes32 id,) = _unlocking(c, k, p, s, mandate);
        uint256 shift = TICKS + 32 * p;
        uint256 ticks = uint32(k[HEAD] >> shift);
        if (n > s.max || n <= ticks) revert BadTicks();
        for (uint256 i = 0; i < n; i++) {
            preimage = sha256(abi.encode(preimage));
        }
        if (preimage != s.tip) revert BadTicks();
        // Below 2^96 each for paid, leaves and ticks: the sum fits its 128 bits.
        k[SIDES + p] += ((n - ticks) * s.unit) << OUT;
        k[HEAD] += (n - ticks) << shift;
        closingHash[id] = _hash(k);
        emit Redeemed(id, k);
    }

    /// @dev Common part of unlock and redeem, which are for the payee's benefit, so that anybody may call them.
    function _unlocking(
        Channel calldata c,
        uint256[7] memory k,
        uint256 p,
        State calldata s,
        Mandate[] calldata mandate
    ) private view returns (bytes32 id, uint256 epoch) {
        id = _id(c);
        uint256 word = words[id];
        uint256 end = (word >> 216) & TIME_MASK;
        if (word >> 252 != CLOSING || block.timestamp < end || block.timestamp >= _settleTime(c, k, end)) {
            revert WrongPhase();
        }
        if (closingHash[id] != _hash(k)) revert WrongClosing();
        epoch = uint24(word >> 192);
        if (uint256(_stateHash(id, epoch, _party(c, p), s)) != k[STATES + p]) revert WrongState();
        if (mandate.length != 0) _name(k, p ^ 1, id, epoch, _party(c, p ^ 1), 0, mandate[0]);
    }

    // ---------------------------------------------------------------- settlement

    function settle(Channel calldata c, uint256[7] calldata k) external lock {
        if (!_settle(c, k)) revert WrongPhase();
    }

    function settleBatch(Channel[] calldata cs, uint256[7][] calldata ks) external lock returns (uint256 settled) {
        for (uint256 i = 0; i < cs.length; i++) {
            if (_settle(cs[i], ks[i])) settled++;
        }
    }

    /// @dev False if the channel cannot be settled now with this record.
    function _settle(Channel calldata c, uint256[7] memory k) private returns (bool) {
        bytes32 id = _id(c);
        uint256 word = words[id];
        if (word >> 252 != CLOSING || block.timestamp < _settleTime(c, k, (word >> 216) & TIME_MASK)) return false;
        if (closingHash[id] != _hash(k)) return false;

        int256 total = int256(_total(word));
        int256 low;
        unchecked {
            // Deposits are below 2^95 and what was paid below 2^128 in size.
            low = int256(int96(uint96(word))) + int256(uint256(uint128(k[SIDES + 1] >> OUT)))
                - int256(uint256(uint128(k[SIDES] >> OUT)));
            if (low < 0) low = 0;
            if (low > total) low = total;
            if (k[HEAD] & FINED != 0) {
                low += (k[HEAD] & CLOSER_HIGH != 0 ? total - low : -low) / FINE_DIVISOR;
            }
        }
        _end(id, word);
        emit Settled(id, uint256(low), uint256(total - low));
        _share(c.token, c.low, uint256(low), k[AGENTS]);
        _share(c.token, c.high, uint256(total - low), k[AGENTS + 1]);
        return true;
    }

    /// @dev Pays a party its share, and its agent out of that share.
    function _share(address token, address party, uint256 amount, uint256 order) private {
        if (order != 0) {
            uint256 fee = _min(order >> 160, amount);
            amount -= fee;
            _pay(token, address(uint160(order)), fee);
        }
        _pay(token, party, amount);
    }

    function claim(address token, address account, address to) external lock {
        if (to != account && msg.sender != account) revert WrongAgent();
        uint256 amount = credits[token][account];
        if (amount == 0) revert BadAmount();
        credits[token][account] = 0;
        if (!_push(token, to, amount)) revert TokenFailed();
        emit Claimed(token, account, to, amount);
    }

    // ---------------------------------------------------------------- views

    function channels(bytes32 id)
        external
        view
        returns (int96 depositLow, int96 depositHigh, uint32 epoch, uint40 time, uint8 phase)
    {
        (int256 low, int256 high, uint256 e, uint256 t, uint256 p) = _unpack(words[id]);
        return (int96(low), int96(high), uint32(e), uint40(t), uint8(p));
    }

    // ---------------------------------------------------------------- pieces

    /// @dev The four members lie in the calldata as abi.encode lays them out. One with dirty upper bits names a channel
    /// that no deposit can open.
    function _id(Channel calldata c) private pure returns (bytes32 id) {
        assembly ("memory-safe") {
            let data := mload(64)
            calldatacopy(data, c, 128)
            id := keccak256(data, 128)
        }
    }

    /// @dev The same of a channel in memory, whose members are clean.
    function _idOf(Channel memory c) private pure returns (bytes32 id) {
        assembly ("memory-safe") {
            id := keccak256(c, 128)
        }
    }

    function _unpack(uint256 word)
        private
        pure
        returns (int256 low, int256 high, uint256 epoch, uint256 time, uint256 phase)
    {
        low = int96(uint96(word));
        high = int96(uint96(word >> 96));
        epoch = uint24(word >> 192);
        time = (word >> 216) & TIME_MASK;
        phase = word >> 252;
    }

    function _pack(int256 low, int256 high, uint256 epoch, uint256 time, uint256 phase)
        private
        pure
        returns (uint256)
    {
        return uint256(uint96(int96(low))) | (uint256(uint96(int96(high))) << 96) | (epoch << 192) | (time << 216)
            | (phase << 252);
    }

    /// @dev Ends the epoch; what was signed in it is worth nothing from now on.
    function _end(bytes32 id, uint256 word) private {
        words[id] = (uint256(uint24(word >> 192)) + 1) << 192;
        if (word >> 252 == CLOSING) closingHash[id] = 0;
    }

    /// @dev Both deposits; never negative.
    function _total(uint256 word) private pure returns (uint256) {
        unchecked {
            return uint256(int256(int96(uint96(word))) + int256(int96(uint96(word >> 96))));
        }
    }

    function _party(Channel calldata c, uint256 p) private pure returns (address) {
        return p == 0 ? c.low : c.high;
    }

    function _hold(Channel calldata c) private pure returns (uint256) {
        return ((HOLD_HOURS >> (uint256(c.terms & 255) << 4)) & 0xffff) * 1 hours;
    }

    function _settleTime(Channel calldata c, uint256[7] memory k, uint256 end) private pure returns (uint256) {
        uint256 lastExpiry = uint40(k[HEAD] >> LAST_EXPIRY);
        return (lastExpiry > end ? lastExpiry : end) + _hold(c) / 4;
    }

    function _challenged(Channel calldata c, uint256[7] memory k) private view returns (bytes32 id, uint256 word) {
        id = _id(c);
        word = words[id];
        if (word >> 252 != CLOSING || block.timestamp >= (word >> 216) & TIME_MASK) revert WrongPhase();
        if (closingHash[id] != _hash(k)) revert WrongClosing();
    }

    /// @dev Puts a message in place. Seq 0 stands for no message and must be empty. The message's locks keep the channel
    /// open, but not for longer than `LOCK_MAX` after the challenge's `end`.
    function _place(
        uint256[7] memory k,
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
        uint256 lastExpiry = _min(s.lastExpiry, end + LOCK_MAX);
        uint256 head = k[HEAD];
        uint256 present = uint40(head >> LAST_EXPIRY);
        if (lastExpiry > present) k[HEAD] = head + ((lastExpiry - present) << LAST_EXPIRY);
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

    function _hash(uint256[7] memory k) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(k, 224)
        }
    }

    /// @dev Records whom a party orders to act, after its signature; a later order replaces an earlier one.
    function _name(
        uint256[7] memory k,
        uint256 p,
        bytes32 id,
        uint256 epoch,
        address party,
        uint256 state,
        Mandate calldata m
    ) private view {
        k[AGENTS + p] = _order(m);
        _verify(
            keccak256(abi.encode(MANDATE, id, epoch, party, state, m.agent, m.fee, m.deadline)),
            m.signature.r,
            m.signature.vs,
            party
        );
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

    function _verifyBoth(Channel calldata c, bytes32 structHash, Signature calldata low, Signature calldata high)
        private
        view
    {
        _verify(structHash, low.r, low.vs, c.low);
        _verify(structHash, high.r, high.vs, c.high);
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

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
