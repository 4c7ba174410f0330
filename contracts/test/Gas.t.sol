// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";
import {IChequebook} from "../src/interfaces/IChequebook.sol";

/// @notice Gas of whole transactions: 21,000, calldata and refunds included, every account and slot cold. Written to
/// out/gas.txt, one "name;gas" a line, from which gas.mjs makes docs/gas.md.
contract GasTest is Base {
    uint40 private constant END = uint40(START + HOLD);
    uint40 private constant EXPIRY = uint40(START + HOLD + 2 days);
    uint256 private constant LATER = START + 100 days;

    IChequebook private cb;
    IChequebook.Book private b;

    function setUp() public override {
        super.setUp();
        cb = IChequebook(deploy("Chequebook", ""));
        smt.approve(address(cb), type(uint256).max);
        smt.transfer(address(ch), 1);
        smt.transfer(address(cb), 1);
        smt.transfer(address(0xdEaD), 1);
        b = IChequebook.Book(address(smt), user, user, 60, 3 days);
    }

    /// @dev Takes the last call's gas: what the sender would be charged.
    function note(string memory name) internal {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        vm.writeLine("out/gas.txt", string.concat(name, ";", vm.toString(used)));
    }

    function data(bool isHigh, bool opening) internal view returns (bytes memory) {
        bytes memory d = abi.encodePacked(low, high, c.terms, epoch(), isHigh);
        return opening ? bytes.concat(d, keccak256("locator low"), keccak256("locator high")) : d;
    }

    function smtSig(uint256 key, bytes32 h) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain("SmartMesh Token", address(smt)), h)));
        return abi.encodePacked(r, s, v);
    }

    function signDeposit(address target, uint256 value, bytes memory d, uint256 nonce)
        internal
        view
        returns (bytes memory)
    {
        return smtSig(
            USER_KEY,
            keccak256(
                abi.encode(
                    keccak256(
                        "Deposit(address from,address target,uint256 value,bytes data,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
                    ),
                    user,
                    target,
                    value,
                    keccak256(d),
                    uint256(50),
                    agent,
                    nonce,
                    LATER
                )
            )
        );
    }

    function signTransfer(uint256 nonce) internal view returns (bytes memory) {
        return smtSig(
            USER_KEY,
            keccak256(
                abi.encode(
                    keccak256(
                        "Transfer(address from,address to,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline)"
                    ),
                    user,
                    high,
                    uint256(1000),
                    uint256(50),
                    agent,
                    nonce,
                    LATER
                )
            )
        );
    }

    function testGas() public {
        vm.writeFile("out/gas.txt", "");
        tokens();
        deposits();
        agreed();
        disputes();
        locks();
        registry();
        batch();
        cheques();
    }

    function tokens() internal {
        bytes memory s0 = signTransfer(0);
        bytes memory s1 = signTransfer(1);
        bytes memory s2 = signTransfer(2);
        vm.prank(agent);
        smt.transferWithFee(user, high, 1000, 50, agent, 0, LATER, s0);
        note("signed transfer with fee, first of a nonce key");
        vm.prank(agent);
        smt.transferWithFee(user, high, 1000, 50, agent, 1, LATER, s1);
        note("signed transfer with fee");
        bytes[] memory items = new bytes[](1);
        items[0] = abi.encodeCall(smt.transferWithFee, (user, high, 1000, 50, agent, 2, LATER, s2));
        vm.prank(agent);
        smt.batch(items, 200_000);
        note("signed transfer with fee, batch of one");
        uint256 next = 3;
        items = new bytes[](10);
        for (uint256 i = 0; i < 10; i++) {
            items[i] =
                abi.encodeCall(smt.transferWithFee, (user, high, 1000, 50, agent, next + i, LATER, signTransfer(next + i)));
        }
        vm.prank(agent);
        smt.batch(items, 200_000);
        note("signed transfer with fee, batch of ten");
    }

    function deposits() internal {
        uint256 snapshot = vm.snapshotState();
        bytes memory opening = data(false, true);
        bytes memory more = data(true, false);
        vm.prank(user);
        smt.depositTo(address(ch), 1000, opening);
        note("open + deposit, self");
        vm.prank(user);
        smt.depositTo(address(ch), 1000, more);
        note("top up, self");
        vm.revertToState(snapshot);
        bytes memory s = signDeposit(address(ch), 1000, opening, 13);
        vm.prank(agent);
        smt.depositWithFee(user, address(ch), 1000, opening, 50, agent, 13, LATER, s);
        note("open + deposit, by agent");
        s = signDeposit(address(ch), 1000, more, 14);
        vm.prank(agent);
        smt.depositWithFee(user, address(ch), 1000, more, 50, agent, 14, LATER, s);
        note("top up, by agent");
        vm.revertToState(snapshot);
        ch.deposit(c, 0, false, 1000, "l", "h");
        note("open + deposit, by allowance");
        vm.revertToState(snapshot);
    }

    function agreed() internal {
        uint256 snapshot = vm.snapshotState();
        openWith(100_000, 100_000);
        IChannels.Withdrawal memory w = IChannels.Withdrawal(high, 5000, high, address(0), 0, uint40(LATER));
        bytes32 h = withdrawHash(w);
        IChannels.Signature memory l = sign(lowKey, h);
        IChannels.Signature memory s = sign(highKey, h);
        vm.prank(high);
        ch.withdraw(c, w, l, s);
        note("withdraw");
        w = IChannels.Withdrawal(high, 5000, high, agent, 50, uint40(LATER + 1));
        h = withdrawHash(w);
        l = sign(lowKey, h);
        s = sign(highKey, h);
        vm.prank(agent);
        ch.withdraw(c, w, l, s);
        note("withdraw, by agent");
        IChannels.Payouts memory p =
            IChannels.Payouts(120_000, 70_000, low, high, address(0), 0, uint40(LATER));
        h = payoutsHash(p);
        l = sign(lowKey, h);
        s = sign(highKey, h);
        vm.prank(high);
        ch.coopClose(c, p, l, s);
        note("cooperative close");
        vm.revertToState(snapshot);
    }

    function disputes() internal {
        uint256 snapshot = vm.snapshotState();
        openWith(100_000, 100_000);
        IChannels.State memory own = paid(70, 30_000);
        IChannels.State memory partner = paid(90, 20_000);
        IChannels.Signature memory s = signState(true, partner);
        uint256 opened = vm.snapshotState();
        vm.prank(low);
        ch.close(c, false, empty(), empty(), noSig(), none());
        note("close, no evidence");
        vm.revertToState(opened);
        IChannels.Mandate[] memory m = closeMandate(false, false, own, partner, agent, 50, uint40(LATER));
        vm.prank(agent);
        ch.close(c, false, own, partner, s, m);
        note("close, with evidence, by agent");
        vm.revertToState(opened);
        uint256[8] memory k = closing(false, false, own, partner);
        vm.prank(low);
        ch.close(c, false, own, partner, s, none());
        note("close, with evidence");
        uint256 closed = vm.snapshotState();

        IChannels.State memory newer = paid(95, 25_000);
        IChannels.State memory chosen = paid(65, 30_000);
        s = signState(false, chosen);
        vm.prank(high);
        ch.update(c, k, false, chosen, s, none());
        note("update");
        vm.revertToState(closed);
        s = signState(true, newer);
        m = mandate(false, stateHash(true, newer), agent, 50, uint40(LATER));
        vm.prank(agent);
        ch.update(c, k, true, newer, s, m);
        note("update, by a watchtower");
        vm.revertToState(closed);

        IChannels.State memory proof = paid(71, 31_000);
        s = signState(false, proof);
        vm.prank(high);
        ch.forfeit(c, k, proof, s, none());
        note("punish, with payout");
        vm.revertToState(closed);
        m = mandate(true, 0, agent, 50, uint40(LATER));
        vm.prank(agent);
        ch.forfeit(c, k, proof, s, m);
        note("punish, with payout, by a watchtower");
        vm.revertToState(closed);

        vm.warp(END + HOLD / 4);
        vm.prank(low);
        ch.settle(c, k);
        note("settle");
        vm.revertToState(snapshot);
        vm.warp(START);
    }

    function locks() internal {
        uint256[3] memory sizes = [uint256(1), 6, 64];
        for (uint256 n = 0; n < 3; n++) {
            uint256 snapshot = vm.snapshotState();
            openWith(100_000, 100_000);
            IChannels.Claim[] memory a = new IChannels.Claim[](sizes[n]);
            IChannels.State memory s = paid(90, 20_000);
            for (uint256 i = 0; i < a.length; i++) {
                a[i] = lockClaim(uint8(i), 1000, EXPIRY, keccak256(abi.encode(i)));
                s.locked += 1000;
            }
            s.root = buildTree(a);
            s.lastExpiry = EXPIRY;
            uint256[8] memory k = closeBy(false, empty(), s);
            vm.warp(END);
            uint256 closed = vm.snapshotState();
            bytes32[] memory proof = proofOf(a, (1 << a.length) - 1);
            vm.prank(low);
            ch.unlock(c, k, true, s, a, depthOf(a.length), proof, none());
            if (n == 0) note("unlock one leaf");
            if (n == 1) note("unlock 6 leaves");
            if (n == 2) note("unlock 64 leaves");
            if (n == 2) {
                vm.revertToState(closed);
                IChannels.Claim[] memory one = new IChannels.Claim[](1);
                one[0] = a[33];
                proof = proofOf(a, 1 << 33);
                vm.prank(low);
                ch.unlock(c, k, true, s, one, depthOf(a.length), proof, none());
                note("unlock one leaf of 64");
            }
            vm.revertToState(snapshot);
            vm.warp(START);
        }
        ticks();
    }

    function ticks() internal {
        uint256 snapshot = vm.snapshotState();
        openWith(100_000, 100_000);
        IChannels.State memory s = paid(90, 20_000);
        bytes32 tip = "seed";
        for (uint256 i = 0; i < 256; i++) {
            tip = sha256(abi.encode(tip));
        }
        s.tip = tip;
        s.unit = 3;
        s.max = 256;
        uint256[8] memory k = closeBy(false, empty(), s);
        vm.warp(END);
        vm.prank(low);
        ch.redeem(c, k, true, s, "seed", 256, none());
        note("redeem 256 ticks");
        vm.revertToState(snapshot);
        vm.warp(START);
    }

    function registry() internal {
        uint256 snapshot = vm.snapshotState();
        conditions.registerSecret(keccak256("a"));
        note("register a secret");
        bytes32[] memory many = new bytes32[](3);
        for (uint256 i = 0; i < 3; i++) {
            many[i] = keccak256(abi.encode(i));
        }
        conditions.registerSecrets(many);
        note("register three secrets");
        openWith(100_000, 100_000);
        IChannels.Signature memory s = releaseSig(false, keccak256("leaf"));
        ch.voidLeaf(c, 0, false, keccak256("leaf"), s);
        note("void a leaf");
        vm.revertToState(snapshot);
    }

    function batch() internal {
        uint256 snapshot = vm.snapshotState();
        IChannels.Channel[] memory cs = new IChannels.Channel[](20);
        uint256[8][] memory ks = new uint256[8][](20);
        for (uint256 i = 0; i < 20; i++) {
            (lowKey, highKey) = (0x1000 + i, 0x2000 + i);
            (low, high) = (vm.addr(lowKey), vm.addr(highKey));
            if (low > high) (lowKey, highKey, low, high) = (highKey, lowKey, high, low);
            smt.transfer(low, 1);
            smt.transfer(high, 1);
            useToken(address(smt));
            openWith(50_000, 50_000);
            cs[i] = c;
            ks[i] = closeBy(false, paid(70, 30_000), paid(90, 20_000));
        }
        vm.warp(END + HOLD / 4);
        ch.settleBatch(cs, ks);
        note("settle 20 channels in a batch");
        vm.revertToState(snapshot);
        vm.warp(START);
        (lowKey, highKey) = vm.addr(LOW_KEY) < vm.addr(HIGH_KEY) ? (LOW_KEY, HIGH_KEY) : (HIGH_KEY, LOW_KEY);
        (low, high) = (vm.addr(lowKey), vm.addr(highKey));
        useToken(address(smt));
    }

    function chequeSig(IChequebook.Cheque memory x) internal view returns (IChequebook.Signature memory) {
        bytes32 book = keccak256(abi.encode(b.token, b.owner, b.issuer, b.cap, b.thaw));
        IChannels.Signature memory s = compact(
            USER_KEY,
            domain("SmartMesh Chequebook", address(cb)),
            keccak256(
                abi.encode(
                    keccak256(
                        "Cheque(bytes32 book,uint64 index,uint96 increment,uint96 total,bytes32 previous,address beneficiary,uint96 cumulative)"
                    ),
                    book,
                    x.index,
                    x.increment,
                    x.total,
                    x.previous,
                    x.beneficiary,
                    x.cumulative
                )
            )
        );
        return IChequebook.Signature(s.r, s.vs);
    }

    function cheques() internal {
        cb.fund(b, 100_000, 50_000);
        note("open and fund a chequebook");
        IChequebook.Cheque memory x = IChequebook.Cheque(900, 500, 40_000, keccak256("p"), high, 1500);
        IChequebook.Signature memory s = chequeSig(x);
        vm.prank(high);
        cb.cash(b, x, s);
        note("cash a cheque, first of a beneficiary");
        x.index = 905;
        x.cumulative = 2000;
        s = chequeSig(x);
        vm.prank(high);
        cb.cash(b, x, s);
        note("cash a cheque");
        IChequebook.Cheque memory y = x;
        IChequebook.Cheque memory z =
            IChequebook.Cheque(905, 501, 40_000, keccak256("p"), low, 2001);
        IChequebook.Signature memory zs = chequeSig(z);
        vm.prank(high);
        cb.proveFraud(b, y, s, z, zs);
        note("prove fraud");
    }
}
