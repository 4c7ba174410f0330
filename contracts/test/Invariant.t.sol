// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Plain, FeeOnTransfer, NoReturn, Moody, Blacklisting, Hooked} from "./support/Tokens.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";
import {IChequebook} from "../src/interfaces/IChequebook.sol";

/// @notice Plays random histories on channels and books of six tokens, five of them hostile. Calls that the contracts
/// refuse are part of the play.
contract Player is Base {
    uint256 private constant TOKENS = 6;

    address[] public tokens;
    IChequebook public cb;
    bytes32[] private ids;
    bytes32[] private bookIds;
    mapping(bytes32 => uint256[8]) private records;
    mapping(bytes32 => IChannels.State[2]) private latest;
    uint256 private step;
    /// @dev How often each action was accepted.
    mapping(string => uint256) public done;
    uint256 public unsettled;

    function start() external {
        Base.setUp();
        cb = IChequebook(deploy("Chequebook", ""));
        tokens.push(address(new Plain()));
        tokens.push(address(new FeeOnTransfer()));
        tokens.push(address(new NoReturn()));
        tokens.push(address(new Moody()));
        tokens.push(address(new Blacklisting()));
        tokens.push(address(new Hooked()));
        for (uint256 i = 0; i < TOKENS; i++) {
            Plain(tokens[i]).mint(address(this), 2 ** 90);
            (bool yes,) = tokens[i].call(abi.encodeCall(Plain.approve, (address(ch), type(uint256).max)));
            (yes,) = tokens[i].call(abi.encodeCall(Plain.approve, (address(cb), type(uint256).max)));
            require(yes);
            useToken(tokens[i]);
            ids.push(id);
            bookIds.push(keccak256(abi.encode(tokens[i], user, user, uint96(60), uint40(3 days))));
        }
    }

    function pick(uint256 token) internal returns (uint256) {
        token = token % TOKENS;
        useToken(tokens[token]);
        return token;
    }

    function attempt(address target, bytes memory data, string memory what) internal returns (bool accepted) {
        (accepted,) = target.call{gas: 5_000_000}(data);
        if (accepted) done[what]++;
    }

    // ---------------------------------------------------------------- actions

    function deposit(uint256 token, bool isHigh, uint32 amount) external {
        pick(token);
        attempt(address(ch), abi.encodeCall(ch.deposit, (c, epoch(), isHigh, amount, 0, 0)), "deposit");
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + time % 4 days);
    }

    function skip() external {
        vm.warp(block.timestamp + 9 days);
    }

    function mood(uint8 m, bool blackLow, bool blackHigh, bool early) external {
        Moody(tokens[3]).setMood(Moody.Mood(m % 4));
        Blacklisting(tokens[4]).list(low, blackLow);
        Blacklisting(tokens[4]).list(high, blackHigh);
        bytes memory data = abi.encodeCall(ch.claim, (tokens[5], low, low));
        Hooked(tokens[5]).setHook(address(ch), data, early);
    }

    /// @dev A payment: the newest message grows.
    function pay(uint256 token, bool payerHigh, uint32 amount) external {
        pick(token);
        IChannels.State storage s = latest[keccak256(abi.encode(id, epoch()))][payerHigh ? 1 : 0];
        s.seq += 1;
        s.paid += amount;
    }

    function states() internal view returns (IChannels.State memory l, IChannels.State memory h) {
        bytes32 key = keccak256(abi.encode(id, epoch()));
        return (latest[key][0], latest[key][1]);
    }

    function withdraw(uint256 token, bool isHigh, uint32 amount, uint16 fee) external {
        pick(token);
        IChannels.Withdrawal memory w =
            IChannels.Withdrawal(partyOf(isHigh), amount, user, address(0), fee, uint40(block.timestamp + 1));
        bytes32 h = withdrawHash(w);
        attempt(address(ch), abi.encodeCall(ch.withdraw, (c, w, sign(lowKey, h), sign(highKey, h))), "withdraw");
    }

    function coopClose(uint256 token, uint32 part, uint16 fee) external {
        pick(token);
        (int96 l, int96 h,,,) = channelOf(id);
        uint96 total = uint96(l + h);
        if (total == 0) return;
        fee = uint16(fee % (total + 1));
        uint96 lowPart = part % (total - fee + 1);
        IChannels.Payouts memory p = IChannels.Payouts(
            lowPart, total - fee - lowPart, low, high, address(0), fee, uint40(block.timestamp + 1)
        );
        bytes32 d = payoutsHash(p);
        attempt(address(ch), abi.encodeCall(ch.coopClose, (c, p, sign(lowKey, d), sign(highKey, d))), "coopClose");
    }

    /// @dev Closes honestly, or with less than the truth.
    function close(uint256 token, bool closerHigh, bool unknown, uint32 understate, uint32 fee) external {
        pick(token);
        (IChannels.State memory own, IChannels.State memory partner) = states();
        if (closerHigh) (own, partner) = (partner, own);
        if (own.seq != 0 && understate % 3 == 0) own.paid -= uint96(understate) % (own.paid + 1);
        IChannels.Signature memory s;
        if (partner.seq != 0) s = signState(!closerHigh, partner);
        uint256[8] memory k = closing(closerHigh, unknown, own, partner);
        setAgent(k, closerHigh, address(this), fee);
        IChannels.Mandate[] memory m =
            closeMandate(closerHigh, unknown, own, partner, address(0), fee, uint40(block.timestamp + 1));
        bytes memory data = unknown
            ? abi.encodeCall(ch.closeUnknown, (c, closerHigh, own, partner, s, m))
            : abi.encodeCall(ch.close, (c, closerHigh, own, partner, s, m));
        if (attempt(address(ch), data, "close")) records[id] = k;
    }

    function forfeit(uint256 token, uint32 fee) external {
        pick(token);
        uint256[8] memory k = records[id];
        bool closerHigh = k[0] & 1 == 1;
        (IChannels.State memory l, IChannels.State memory h) = states();
        IChannels.State memory s = closerHigh ? h : l;
        IChannels.Mandate[] memory m =
            mandate(!closerHigh, 0, address(0), fee, uint40(block.timestamp + 1));
        attempt(address(ch), abi.encodeCall(ch.forfeit, (c, k, s, signState(closerHigh, s), m)), "forfeit");
    }

    function settle(uint256 token) external {
        pick(token);
        uint256[8] memory k = records[id];
        (,,, uint40 time, uint8 phase) = channelOf(id);
        bool due = phase == 2 && block.timestamp >= time + HOLD / 4;
        bool accepted = attempt(address(ch), abi.encodeCall(ch.settle, (c, k)), "settle");
        if (due && !accepted) unsettled++;
    }

    function claim(uint256 token, bool isHigh, bool elsewhere) external {
        pick(token);
        address account = partyOf(isHigh);
        if (elsewhere) vm.prank(account);
        attempt(address(ch), abi.encodeCall(ch.claim, (tokens[token % TOKENS], account, elsewhere ? user : account)), "claim");
    }

    // ---------------------------------------------------------------- books

    function bookOf(uint256 token) internal view returns (IChequebook.Book memory) {
        return IChequebook.Book(tokens[token], user, user, 60, 3 days);
    }

    function fund(uint256 token, uint32 funds, uint32 bond) external {
        token = pick(token);
        attempt(address(cb), abi.encodeCall(cb.fund, (bookOf(token), funds, bond)), "fund");
    }

    function cheque(uint256 token, uint64 index, uint32 total, bool isHigh, uint32 cumulative)
        internal
        view
        returns (IChequebook.Cheque memory x, IChequebook.Signature memory s)
    {
        x = IChequebook.Cheque(index, 1, total, 0, partyOf(isHigh), cumulative);
        bytes32 h = keccak256(
            abi.encode(
                keccak256(
                    "Cheque(bytes32 book,uint64 index,uint96 increment,uint96 total,bytes32 previous,address beneficiary,uint96 cumulative)"
                ),
                bookIds[token],
                x.index,
                x.increment,
                x.total,
                x.previous,
                x.beneficiary,
                x.cumulative
            )
        );
        IChannels.Signature memory sig = compact(USER_KEY, domain("SmartMesh Chequebook", address(cb)), h);
        s = IChequebook.Signature(sig.r, sig.vs);
    }

    function cash(uint256 token, uint64 index, bool isHigh, uint32 cumulative, bool inBatch) external {
        token = pick(token);
        (IChequebook.Cheque memory x, IChequebook.Signature memory s) = cheque(token, index, 9, isHigh, cumulative);
        if (!inBatch) {
            attempt(address(cb), abi.encodeCall(cb.cash, (bookOf(token), x, s)), "cash");
            return;
        }
        IChequebook.Book[] memory bs = new IChequebook.Book[](1);
        IChequebook.Cheque[] memory cs = new IChequebook.Cheque[](1);
        IChequebook.Signature[] memory ss = new IChequebook.Signature[](1);
        (bs[0], cs[0], ss[0]) = (bookOf(token), x, s);
        attempt(address(cb), abi.encodeCall(cb.cashBatch, (bs, cs, ss)), "cashBatch");
    }

    function lockFor(uint256 token, bool isHigh, uint32 amount, uint16 time) external {
        token = pick(token);
        IChequebook.Signature memory s;
        vm.prank(user);
        attempt(
            address(cb),
            abi.encodeCall(
                cb.lockFor, (bookOf(token), partyOf(isHigh), amount, uint40(block.timestamp + time), 0, s)
            ),
            "lock"
        );
    }

    function release(uint256 token, bool isHigh) external {
        token = pick(token);
        attempt(address(cb), abi.encodeCall(cb.releaseLock, (bookOf(token), partyOf(isHigh))), "release");
    }

    function thaw(uint256 token, bool leave) external {
        token = pick(token);
        IChequebook.Signature memory s;
        vm.prank(user);
        if (!leave) attempt(address(cb), abi.encodeCall(cb.startThaw, (bookOf(token), 0, s)), "thaw");
        else attempt(address(cb), abi.encodeCall(cb.withdraw, (bookOf(token), user, address(0), 0, 0, s)), "leave");
    }

    function fraud(uint256 token, uint64 index) external {
        token = pick(token);
        (IChequebook.Cheque memory x, IChequebook.Signature memory s) = cheque(token, index, 9, false, 1);
        (IChequebook.Cheque memory y, IChequebook.Signature memory t) = cheque(token, index, 9, true, 1);
        if (attempt(address(cb), abi.encodeCall(cb.proveFraud, (bookOf(token), x, s, y, t)), "fraud")) {
            (x, s) = cheque(token, index + 1, 9, index % 2 == 0, 1e6);
            attempt(address(cb), abi.encodeCall(cb.claim, (bookOf(token), x, s)), "compensate");
        }
    }

    function compensate(uint256 token, bool isHigh, uint32 cumulative, uint8 what) external {
        token = pick(token);
        (IChequebook.Cheque memory x, IChequebook.Signature memory s) = cheque(token, 1, 9, isHigh, cumulative);
        if (what % 3 == 0) attempt(address(cb), abi.encodeCall(cb.claim, (bookOf(token), x, s)), "compensate");
        if (what % 3 == 1) {
            attempt(address(cb), abi.encodeCall(cb.collect, (bookOf(token), partyOf(isHigh))), "collect");
        }
        if (what % 3 == 2) attempt(address(cb), abi.encodeCall(cb.burnSurplus, (bookOf(token))), "burn");
    }

    function dueOf(bytes32 book) internal view returns (uint256 due) {
        (uint96 funds, uint96 bond,, uint8 phase) = cb.books(book);
        due = uint256(funds) + bond;
        (, uint96 locked,) = cb.accounts(book, low);
        due += locked;
        (, locked,) = cb.accounts(book, high);
        due += locked;
        if (phase == 3) {
            (uint128 pot, uint128 claims) = cb.frauds(book);
            uint256 open = uint256(cb.claims(book, low)) + cb.claims(book, high);
            due += claims > pot ? open * pot / claims : open;
        }
    }

    // ---------------------------------------------------------------- what must hold

    function check() external view {
        for (uint256 i = 0; i < TOKENS; i++) {
            address t = tokens[i];
            (int96 l, int96 h,,,) = channelOf(ids[i]);
            int256 owed = int256(l) + h;
            require(owed >= 0, "a channel owes a negative sum");
            address[5] memory accounts = [low, high, user, agent, address(this)];
            for (uint256 j = 0; j < 5; j++) {
                owed += int256(ch.credits(t, accounts[j]));
            }
            require(int256(Plain(t).balanceOf(address(ch))) >= owed, "channels owe more than they hold");

            require(Plain(t).balanceOf(address(cb)) >= dueOf(bookIds[i]), "books owe more than they hold");
        }
        require(unsettled == 0, "a channel that was due did not settle");
    }
}

contract InvariantTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Player private player;

    function setUp() public {
        player = new Player();
        player.start();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(player);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        bytes4[] memory s = new bytes4[](22);
        s[0] = Player.deposit.selector;
        s[1] = Player.deposit.selector;
        s[2] = Player.pay.selector;
        s[3] = Player.pay.selector;
        s[4] = Player.wait.selector;
        s[5] = Player.skip.selector;
        s[6] = Player.mood.selector;
        s[7] = Player.withdraw.selector;
        s[8] = Player.coopClose.selector;
        s[9] = Player.close.selector;
        s[10] = Player.close.selector;
        s[11] = Player.forfeit.selector;
        s[12] = Player.settle.selector;
        s[13] = Player.claim.selector;
        s[14] = Player.fund.selector;
        s[15] = Player.cash.selector;
        s[16] = Player.lockFor.selector;
        s[17] = Player.release.selector;
        s[18] = Player.thaw.selector;
        s[19] = Player.fraud.selector;
        s[20] = Player.compensate.selector;
        s[21] = Player.settle.selector;
        targets[0] = FuzzSelector(address(player), s);
    }

    /// @dev Conservation: per token, what a contract holds is at least what it owes; and settling never fails.
    function invariantHoldsWhatItOwes() public view {
        player.check();
    }

    /// @dev One long fixed history, in which every action is accepted at least once.
    function testLongHistoryReachesEverything() public {
        uint256 random = 1;
        for (uint256 i = 0; i < 4000; i++) {
            random = uint256(keccak256(abi.encode(random)));
            play(random);
            if (i % 50 == 0) player.check();
        }
        player.check();
        string[17] memory names = [
            "deposit",
            "withdraw",
            "coopClose",
            "close",
            "forfeit",
            "settle",
            "claim",
            "fund",
            "cash",
            "cashBatch",
            "lock",
            "release",
            "thaw",
            "leave",
            "fraud",
            "compensate",
            "collect"
        ];
        for (uint256 i = 0; i < names.length; i++) {
            require(player.done(names[i]) > 0, names[i]);
        }
    }

    function play(uint256 r) private {
        uint256 token = (r >> 8) % 6;
        bool yes = (r >> 16) & 1 == 1;
        bool also = (r >> 17) & 1 == 1;
        uint32 amount = uint32((r >> 32) % 1000);
        uint32 second = uint32((r >> 64) % 1000);
        uint256 what = r % 22;
        if (what <= 2) player.deposit(token, yes, amount);
        else if (what <= 5) player.pay(token, yes, amount);
        else if (what == 6) player.wait(uint32(r >> 100));
        else if (what == 7 && also) player.skip();
        else if (what == 8) player.mood(uint8(r >> 110), yes, also, (r >> 120) & 1 == 1);
        else if (what == 9) player.withdraw(token, yes, amount, uint16(second % 50));
        else if (what == 10 && also) player.coopClose(token, amount, uint16(second));
        else if (what == 11) player.close(token, yes, also, amount, second);
        else if (what == 12) player.forfeit(token, second);
        else if (what == 13) player.settle(token);
        else if (what == 14) player.claim(token, yes, also);
        else if (what == 15) player.fund(token, amount, second);
        else if (what == 16) player.cash(token, uint64(r >> 100), yes, second, also);
        else if (what == 17) player.lockFor(token, yes, amount, uint16(r >> 100));
        else if (what == 18) player.release(token, yes);
        else if (what == 19 && amount < 150) player.thaw(token, also);
        else if (what == 20 && amount < 100) player.fraud(token, uint64(r >> 100));
        else if (what == 21) player.compensate(token, yes, second, uint8(r >> 130));
    }
}
