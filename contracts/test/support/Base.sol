// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannels} from "../../src/interfaces/IChannels.sol";
import {IConditions} from "../../src/interfaces/IConditions.sol";
import {ISMT} from "../../src/interfaces/ISMT.sol";
import {Vm} from "./Vm.sol";

/// @notice Keys, typed data written a second time by hand, and a channel between two parties.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    uint256 internal constant LOW_KEY = 0xA11CE;
    uint256 internal constant HIGH_KEY = 0xB0B;
    uint256 internal constant USER_KEY = 0x5E9D;
    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    uint16 internal constant TERMS = 4 * 256 + 5;
    uint256 internal constant HOLD = 7 days;
    uint256 internal constant START = 1_800_000_000;

    ISMT internal smt;
    IConditions internal conditions;
    IChannels internal ch;
    IChannels.Channel internal c;
    bytes32 internal id;

    uint256 internal lowKey;
    uint256 internal highKey;
    address internal low;
    address internal high;
    address internal user;
    address internal agent = address(0xA6E47);
    address internal stranger = address(0x57A46E4);

    function setUp() public virtual {
        vm.warp(START);
        (lowKey, highKey) = vm.addr(LOW_KEY) < vm.addr(HIGH_KEY) ? (LOW_KEY, HIGH_KEY) : (HIGH_KEY, LOW_KEY);
        low = vm.addr(lowKey);
        high = vm.addr(highKey);
        user = vm.addr(USER_KEY);
        smt = ISMT(deploy("SMT", abi.encode(address(this))));
        conditions = IConditions(deploy("Conditions", ""));
        ch = IChannels(deploy("Channels", abi.encode(conditions)));
        for (uint256 i = 0; i < 4; i++) {
            smt.transfer([low, high, user, agent][i], 1_000_000);
        }
        smt.approve(address(ch), type(uint256).max);
        useToken(address(smt));
    }

    /// @dev The tests run on the committed artifacts, or on those in CONTRACTS_DIR (mutants).
    function deploy(string memory name, bytes memory arguments) internal returns (address made) {
        string memory path = string.concat(vm.envOr("CONTRACTS_DIR", string("artifacts")), "/", name, ".json");
        bytes memory code = bytes.concat(vm.parseJsonBytes(vm.readFile(path), ".bytecode"), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), name);
    }

    function useToken(address token) internal {
        c = IChannels.Channel(token, low, high, TERMS);
        id = keccak256(abi.encode(token, low, high, TERMS));
    }

    function empty() internal pure returns (IChannels.State memory s) {}

    function none() internal pure returns (IChannels.Mandate[] memory m) {}

    function noSig() internal pure returns (IChannels.Signature memory s) {}

    function openWith(uint96 lowAmount, uint96 highAmount) internal {
        (,, uint32 e,,) = channelOf(id);
        if (lowAmount > 0) ch.deposit(c, e, false, lowAmount, 0, 0);
        if (highAmount > 0) ch.deposit(c, e, true, highAmount, 0, 0);
    }

    /// @dev The stored word taken apart a second time; deposits are zero while the channel is closing.
    function channelOf(bytes32 id_)
        internal
        view
        returns (int96 l, int96 h, uint32 e, uint40 t, uint8 phase)
    {
        uint256 word = ch.words(id_);
        phase = uint8(word >> 252) % 4;
        if (phase != 2) (l, h) = (int96(uint96(word)), int96(uint96(word >> 96)));
        e = uint24(word >> 192);
        t = uint40((word >> 216) % 2 ** 36);
    }

    /// @dev What is stored of a closing channel's record, zero of others.
    function recordHash(bytes32 id_) internal view returns (bytes32) {
        uint256 word = ch.words(id_);
        return uint8(word >> 252) % 4 == 2 ? bytes32(uint256(uint192(word))) : bytes32(0);
    }

    function epoch() internal view returns (uint32 e) {
        (,, e,,) = channelOf(id);
    }

    function paid(uint64 seq, uint96 amount) internal pure returns (IChannels.State memory s) {
        s.seq = seq;
        s.paid = amount;
    }

    function partyOf(bool isHigh) internal view returns (address) {
        return isHigh ? high : low;
    }

    function keyOf(bool isHigh) internal view returns (uint256) {
        return isHigh ? highKey : lowKey;
    }

    // ---------------------------------------------------------------- typed data

    function domain(string memory name, address verifier) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                verifier
            )
        );
    }

    function compact(uint256 key, bytes32 separator, bytes32 structHash)
        internal
        pure
        returns (IChannels.Signature memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", separator, structHash)));
        return IChannels.Signature(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    function sign(uint256 key, bytes32 structHash) internal view returns (IChannels.Signature memory) {
        return compact(key, domain("SmartMesh Channels", address(ch)), structHash);
    }

    function stateHash(bool payerHigh, IChannels.State memory s) internal view returns (bytes32) {
        return stateHashAt(id, epoch(), payerHigh, s);
    }

    function stateHashAt(bytes32 id_, uint32 epoch_, bool payerHigh, IChannels.State memory s)
        internal
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                keccak256(
                    "State(bytes32 channel,uint32 epoch,address payer,uint64 seq,uint96 paid,bytes32 root,uint96 locked,uint40 lastExpiry,bytes32 tip,uint64 unit,uint32 max)"
                ),
                id_,
                epoch_,
                partyOf(payerHigh),
                s.seq,
                s.paid,
                s.root,
                s.locked,
                s.lastExpiry,
                s.tip,
                s.unit,
                s.max
            )
        );
    }

    function signState(bool payerHigh, IChannels.State memory s) internal view returns (IChannels.Signature memory) {
        return sign(keyOf(payerHigh), stateHash(payerHigh, s));
    }

    function withdrawHash(IChannels.Withdrawal memory w) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "Withdraw(bytes32 channel,uint32 epoch,address party,uint96 amount,address to,address agent,uint96 fee,uint40 expiry)"
                ),
                id,
                epoch(),
                w.party,
                w.amount,
                w.to,
                w.agent,
                w.fee,
                w.expiry
            )
        );
    }

    function payoutsHash(IChannels.Payouts memory p) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "CoopClose(bytes32 channel,uint32 epoch,uint96 lowAmount,uint96 highAmount,address lowTo,address highTo,address agent,uint96 fee,uint40 deadline)"
                ),
                id,
                epoch(),
                p.lowAmount,
                p.highAmount,
                p.lowTo,
                p.highTo,
                p.agent,
                p.fee,
                p.deadline
            )
        );
    }

    function closeMandate(
        bool closerHigh,
        bool unknown,
        IChannels.State memory own,
        IChannels.State memory partner,
        address agent_,
        uint96 fee,
        uint40 deadline
    ) internal view returns (IChannels.Mandate[] memory m) {
        bytes32 h = keccak256(
            abi.encode(
                keccak256(
                    "Close(bytes32 channel,uint32 epoch,address closer,bool unknown,bytes32 own,bytes32 partner,address agent,uint96 fee,uint40 deadline)"
                ),
                id,
                epoch(),
                partyOf(closerHigh),
                unknown,
                stateHash(closerHigh, own),
                stateHash(!closerHigh, partner),
                agent_,
                fee,
                deadline
            )
        );
        m = new IChannels.Mandate[](1);
        m[0] = IChannels.Mandate(agent_, fee, deadline, sign(keyOf(closerHigh), h));
    }

    function mandate(bool partyHigh, bytes32 state, address agent_, uint96 fee, uint40 deadline)
        internal
        view
        returns (IChannels.Mandate[] memory m)
    {
        bytes32 h = keccak256(
            abi.encode(
                keccak256(
                    "Mandate(bytes32 channel,uint32 epoch,address party,bytes32 state,address agent,uint96 fee,uint40 deadline)"
                ),
                id,
                epoch(),
                partyOf(partyHigh),
                state,
                agent_,
                fee,
                deadline
            )
        );
        m = new IChannels.Mandate[](1);
        m[0] = IChannels.Mandate(agent_, fee, deadline, sign(keyOf(partyHigh), h));
    }

    function releaseSig(bool payerHigh, bytes32 leaf) internal view returns (IChannels.Signature memory) {
        return sign(
            keyOf(!payerHigh),
            keccak256(
                abi.encode(
                    keccak256("Release(bytes32 channel,uint32 epoch,address payer,bytes32 leaf)"),
                    id,
                    epoch(),
                    partyOf(payerHigh),
                    leaf
                )
            )
        );
    }

    // ---------------------------------------------------------------- the record, as a watcher keeps it

    function closing(bool closerHigh, bool unknown, IChannels.State memory own, IChannels.State memory partner)
        internal
        view
        returns (uint256[8] memory k)
    {
        k[0] = (closerHigh ? 1 : 0) + (unknown ? 2 : 0) + (uint256(own.seq) << 48);
        setSide(k, closerHigh, own);
        setSide(k, !closerHigh, partner);
        uint256 limit = block.timestamp + HOLD * (unknown ? 4 : 1) + 60 days;
        uint256 last = own.lastExpiry > partner.lastExpiry ? own.lastExpiry : partner.lastExpiry;
        k[0] += (last > limit ? limit : last) << 8;
        k[7] = uint192(ch.words(id));
    }

    function setSide(uint256[8] memory k, bool payerHigh, IChannels.State memory s) internal view {
        k[payerHigh ? 2 : 1] = s.seq + (uint256(s.paid) << 64);
        k[payerHigh ? 4 : 3] = uint256(stateHash(payerHigh, s));
    }

    function setAgent(uint256[8] memory k, bool isHigh, address agent_, uint96 fee) internal pure {
        k[isHigh ? 6 : 5] = uint160(agent_) + (uint256(fee) << 160);
    }

    function hashOf(uint256[8] memory k) internal pure returns (bytes32) {
        return bytes32(uint256(keccak256(abi.encode(k))) >> 64);
    }

    /// @dev The closer sends the close itself; returns the record, which must be the stored one.
    function closeBy(bool closerHigh, IChannels.State memory own, IChannels.State memory partner)
        internal
        returns (uint256[8] memory k)
    {
        IChannels.Signature memory s;
        if (partner.seq != 0) s = signState(!closerHigh, partner);
        k = closing(closerHigh, false, own, partner);
        vm.prank(partyOf(closerHigh));
        ch.close(c, closerHigh, own, partner, s, none());
        eq(recordHash(id), hashOf(k), "record");
    }

    function closeUnknownBy(bool closerHigh, IChannels.State memory own, IChannels.State memory partner)
        internal
        returns (uint256[8] memory k)
    {
        IChannels.Signature memory s;
        if (partner.seq != 0) s = signState(!closerHigh, partner);
        k = closing(closerHigh, true, own, partner);
        vm.prank(partyOf(closerHigh));
        ch.closeUnknown(c, closerHigh, own, partner, s, none());
        eq(recordHash(id), hashOf(k), "record");
    }

    // ---------------------------------------------------------------- leaves and trees

    function leafOf(IChannels.Claim memory l) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("Leaf(uint64 id,uint96 amount,uint40 expiry,bytes condition)"),
                l.id,
                l.amount,
                l.expiry,
                keccak256(l.condition)
            )
        );
    }

    function hashLock(bytes32 preimage) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(1), sha256(abi.encode(preimage)));
    }

    function lockClaim(uint8 index, uint96 amount, uint40 expiry, bytes32 preimage)
        internal
        pure
        returns (IChannels.Claim memory l)
    {
        l.index = index;
        l.id = index;
        l.amount = amount;
        l.expiry = expiry;
        l.condition = hashLock(preimage);
        l.witness = abi.encode(preimage);
    }

    function depthOf(uint256 leaves) internal pure returns (uint256 depth) {
        while (1 << depth < leaves) depth++;
    }

    /// @dev All levels of the tree over `claims`, leaves first.
    function levels(IChannels.Claim[] memory claims) internal pure returns (bytes32[][] memory t) {
        uint256 depth = depthOf(claims.length);
        t = new bytes32[][](depth + 1);
        t[0] = new bytes32[](1 << depth);
        for (uint256 i = 0; i < claims.length; i++) {
            t[0][i] = leafOf(claims[i]);
        }
        for (uint256 d = 1; d <= depth; d++) {
            t[d] = new bytes32[](t[d - 1].length / 2);
            for (uint256 i = 0; i < t[d].length; i++) {
                t[d][i] = keccak256(abi.encode(t[d - 1][2 * i], t[d - 1][2 * i + 1]));
            }
        }
    }

    function buildTree(IChannels.Claim[] memory claims) internal pure returns (bytes32) {
        return levels(claims)[depthOf(claims.length)][0];
    }

    /// @dev The siblings that the leaves of `picked` (a bit for each index) need together, by marking known nodes.
    function proofOf(IChannels.Claim[] memory claims, uint256 picked) internal pure returns (bytes32[] memory proof) {
        bytes32[][] memory t = levels(claims);
        bytes32[] memory found = new bytes32[](t[0].length * 2);
        uint256 n = 0;
        for (uint256 d = 0; d + 1 < t.length; d++) {
            uint256 above = 0;
            for (uint256 i = 0; i < t[d].length; i++) {
                if ((picked >> i) & 1 == 0) continue;
                above |= 1 << (i / 2);
                if ((picked >> (i ^ 1)) & 1 == 0) found[n++] = t[d][i ^ 1];
            }
            picked = above;
        }
        proof = new bytes32[](n);
        for (uint256 i = 0; i < n; i++) {
            proof[i] = found[i];
        }
    }

    // ---------------------------------------------------------------- assertions

    function ok(bool condition, string memory what) internal pure {
        require(condition, what);
    }

    function eq(uint256 a, uint256 b, string memory what) internal pure {
        if (a != b) revert(string.concat(what, ": ", vm.toString(a), " != ", vm.toString(b)));
    }

    function eq(address a, address b, string memory what) internal pure {
        require(a == b, what);
    }

    function eq(bytes32 a, bytes32 b, string memory what) internal pure {
        require(a == b, what);
    }
}
