// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./support/Base.sol";
import {Vm} from "./support/Vm.sol";
import {FeeOnTransfer, Blacklisting, Hooked, Moody} from "./support/Tokens.sol";
import {IChannels} from "../src/interfaces/IChannels.sol";
import {IChequebook} from "../src/interfaces/IChequebook.sol";

contract ChequebookTest is Base {
    bytes4 private constant BAD_AMOUNT = bytes4(keccak256("BadAmount()"));
    bytes4 private constant BAD_SIGNATURE = bytes4(keccak256("BadSignature()"));
    address private constant GRAVE = 0x000000000000000000000000000000000000dEaD;
    uint40 private constant THAW = 3 days;
    uint40 private constant LATER = uint40(START + 100);
    uint256 private constant ISSUER_KEY = 0x155;
    uint256 private constant SHOP_KEY = 0x5409;

    IChequebook private cb;
    IChequebook.Book private b;
    bytes32 private book;
    address private issuer;
    address private shop;

    function setUp() public override {
        super.setUp();
        cb = IChequebook(deploy("Chequebook", ""));
        issuer = vm.addr(ISSUER_KEY);
        shop = vm.addr(SHOP_KEY);
        smt.approve(address(cb), type(uint256).max);
        useBook(address(smt));
    }

    function useBook(address token) internal {
        b = IChequebook.Book(token, user, issuer, 60, THAW);
        book = keccak256(abi.encode(token, user, issuer, 60, THAW));
    }

    function sig(uint256 key, bytes32 h) internal view returns (IChequebook.Signature memory) {
        IChannels.Signature memory s = compact(key, domain("SmartMesh Chequebook", address(cb)), h);
        return IChequebook.Signature(s.r, s.vs);
    }

    function nothing() internal pure returns (IChequebook.Signature memory s) {}

    function cheque(uint64 index, uint96 increment, uint96 total, address to, uint96 cumulative)
        internal
        pure
        returns (IChequebook.Cheque memory)
    {
        return IChequebook.Cheque(index, increment, total, 0, to, cumulative);
    }

    function hashOf(IChequebook.Cheque memory c_) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "Cheque(bytes32 book,uint64 index,uint96 increment,uint96 total,bytes32 previous,address beneficiary,uint96 cumulative)"
                ),
                book,
                c_.index,
                c_.increment,
                c_.total,
                c_.previous,
                c_.beneficiary,
                c_.cumulative
            )
        );
    }

    function signed(IChequebook.Cheque memory c_) internal view returns (IChequebook.Signature memory) {
        return sig(ISSUER_KEY, hashOf(c_));
    }

    function cash(IChequebook.Cheque memory c_) internal {
        cb.cash(b, c_, signed(c_));
    }

    function failCash(IChequebook.Cheque memory c_, bytes4 why) internal {
        IChequebook.Signature memory s = signed(c_);
        vm.expectRevert(why);
        cb.cash(b, c_, s);
    }

    function check(uint96 funds, uint96 bond, uint8 phase) internal view {
        (uint96 f, uint96 d,, uint8 p) = cb.books(book);
        eq(f, funds, "funds");
        eq(d, bond, "bond");
        eq(p, phase, "phase");
    }

    // ---------------------------------------------------------------- funding

    function testFund() public {
        vm.recordLogs();
        cb.fund(b, 100, 40);
        eq(
            vm.getRecordedLogs()[1].topics[0],
            keccak256("Funded(bytes32,(address,address,address,uint96,uint40),uint256,uint256)"),
            "event"
        );
        check(100, 40, 1);
        cb.fund(b, 0, 5);
        cb.fund(b, 5, 0);
        check(105, 45, 1);
        vm.expectRevert(BAD_AMOUNT);
        cb.fund(b, 0, 0);
    }

    function testFundByCallback() public {
        vm.prank(stranger);
        vm.expectRevert();
        cb.onApprovalReceived(user, 5, abi.encode(user, issuer, uint96(60), THAW, uint96(5)));
        vm.prank(user);
        smt.depositTo(address(cb), 140, abi.encode(user, issuer, uint96(60), THAW, uint96(40)));
        check(100, 40, 1);
        vm.prank(user);
        vm.expectRevert(BAD_AMOUNT);
        smt.depositTo(address(cb), 39, abi.encode(user, issuer, uint96(60), THAW, uint96(40)));
        Hooked evil = new Hooked();
        evil.mint(user, 140);
        vm.prank(user);
        evil.approve(address(cb), 140);
        evil.callback(address(cb), user, 140, abi.encode(user, issuer, uint96(60), THAW, uint96(40)));
        check(100, 40, 1);
        useBook(address(evil));
        check(100, 40, 1);
    }

    function testFundMeasures() public {
        FeeOnTransfer t = new FeeOnTransfer();
        t.mint(address(this), 1000);
        t.approve(address(cb), 1000);
        useBook(address(t));
        cb.fund(b, 60, 40);
        check(50, 40, 1);
        vm.expectRevert(BAD_AMOUNT);
        cb.fund(b, 0, 40);
    }

    function testBookTerms() public {
        IChequebook.Book memory x = b;
        x.thaw = 1 days - 1;
        vm.expectRevert(IChequebook.BadBook.selector);
        cb.fund(x, 1, 1);
        x.thaw = 365 days + 1;
        vm.expectRevert(IChequebook.BadBook.selector);
        cb.fund(x, 1, 1);
        x.thaw = 365 days;
        cb.fund(x, 1, 1);
        x.thaw = 1 days;
        cb.fund(x, 1, 1);
        x.owner = address(0);
        vm.expectRevert(IChequebook.BadBook.selector);
        cb.fund(x, 1, 1);
        x.owner = user;
        x.issuer = address(0);
        vm.expectRevert(IChequebook.BadBook.selector);
        cb.fund(x, 1, 1);
    }

    function testFundsFitTheirFields() public {
        Moody t = new Moody();
        useBook(address(t));
        t.mint(address(this), 2 ** 98);
        cb.fund(b, 2 ** 96 - 1, 2 ** 96 - 1);
        vm.expectRevert(BAD_AMOUNT);
        cb.fund(b, 1, 0);
        vm.expectRevert(BAD_AMOUNT);
        cb.fund(b, 0, 1);
    }

    // ---------------------------------------------------------------- cashing

    function testCash() public {
        cb.fund(b, 100, 40);
        vm.recordLogs();
        cash(cheque(1, 30, 30, shop, 30));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Cashed(bytes32,address,uint256,uint256)"), "event");
        eq(keccak256(logs[0].data), keccak256(abi.encode(30, 0)), "amounts");
        check(70, 40, 1);
        eq(smt.balanceOf(shop), 30, "paid");
        failCash(cheque(1, 30, 30, shop, 30), IChequebook.NothingDue.selector);
        failCash(cheque(2, 1, 31, shop, 29), IChequebook.NothingDue.selector);
        cash(cheque(2, 5, 35, shop, 35));
        eq(smt.balanceOf(shop), 35, "the difference");
    }

    function testCashWhatIsThere() public {
        cb.fund(b, 20, 40);
        cash(cheque(1, 30, 30, shop, 30));
        eq(smt.balanceOf(shop), 20, "what the funds reach");
        check(0, 40, 1);
        failCash(cheque(1, 30, 30, shop, 30), IChequebook.NothingDue.selector);
        cb.fund(b, 50, 0);
        cash(cheque(1, 30, 30, shop, 30));
        eq(smt.balanceOf(shop), 30, "the rest");
        check(40, 40, 1);
    }

    function testChequeIsSignedByTheIssuerOverAllFields() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(1, 30, 30, shop, 30);
        IChequebook.Signature memory s = sig(USER_KEY, hashOf(x));
        vm.expectRevert(BAD_SIGNATURE);
        cb.cash(b, x, s);
        s = signed(x);
        for (uint256 i = 0; i < 6; i++) {
            IChequebook.Cheque memory y = cheque(1, 30, 30, shop, 30);
            if (i == 0) y.index = 2;
            if (i == 1) y.increment = 31;
            if (i == 2) y.total = 31;
            if (i == 3) y.previous = "p";
            if (i == 4) y.beneficiary = stranger;
            if (i == 5) y.cumulative = 31;
            vm.expectRevert(BAD_SIGNATURE);
            cb.cash(b, y, s);
        }
        IChequebook.Book memory other = b;
        other.cap = 61;
        cb.fund(other, 100, 0);
        vm.expectRevert(BAD_SIGNATURE);
        cb.cash(other, x, s);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(BAD_SIGNATURE);
        cb.cash(b, x, s);
    }

    function order(IChequebook.Cheque memory x, address to, address agent_, uint96 fee)
        internal
        view
        returns (IChequebook.CashOrder memory)
    {
        bytes32 h = keccak256(
            abi.encode(
                keccak256("CashOrder(bytes32 book,bytes32 cheque,address to,address agent,uint96 fee,uint40 deadline)"),
                book,
                hashOf(x),
                to,
                agent_,
                fee,
                LATER
            )
        );
        return IChequebook.CashOrder(to, agent_, fee, LATER, sig(SHOP_KEY, h));
    }

    function testCashFor() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(1, 30, 30, shop, 30);
        IChequebook.CashOrder memory o = order(x, low, agent, 4);
        IChequebook.Signature memory s = signed(x);
        vm.prank(stranger);
        vm.expectRevert(IChequebook.WrongCaller.selector);
        cb.cashFor(b, x, s, o);
        vm.startPrank(agent);
        vm.warp(LATER);
        vm.expectRevert(IChequebook.Expired.selector);
        cb.cashFor(b, x, s, o);
        vm.warp(LATER - 1);
        for (uint256 i = 0; i < 4; i++) {
            IChequebook.CashOrder memory y = IChequebook.CashOrder(o.to, o.agent, o.fee, o.deadline, o.signature);
            if (i == 0) y.to = high;
            if (i == 1) y.agent = address(0);
            if (i == 2) y.fee = 5;
            if (i == 3) y.deadline += 1;
            vm.expectRevert(BAD_SIGNATURE);
            cb.cashFor(b, x, s, y);
        }
        IChequebook.Cheque memory z = cheque(2, 30, 60, shop, 60);
        IChequebook.Signature memory zs = signed(z);
        vm.expectRevert(BAD_SIGNATURE);
        cb.cashFor(b, z, zs, o);
        cb.cashFor(b, x, s, o);
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.cashFor(b, x, s, o);
        vm.stopPrank();
        eq(smt.balanceOf(low), 1_000_026, "to");
        eq(smt.balanceOf(agent), 1_000_004, "fee");
    }

    function testCashForNeedsARecipientAndTheFee() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(1, 30, 30, shop, 30);
        IChequebook.Signature memory s = signed(x);
        IChequebook.CashOrder memory o = order(x, address(0), agent, 4);
        vm.startPrank(agent);
        vm.expectRevert(IChequebook.BadBook.selector);
        cb.cashFor(b, x, s, o);
        o = order(x, low, agent, 31);
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.cashFor(b, x, s, o);
        o = order(x, low, address(0), 30);
        cb.cashFor(b, x, s, o);
        vm.stopPrank();
    }

    /// @dev An issuer that feeds its book in small pieces while its agent takes a fee of each would empty the cheque.
    function testCashForIsAllOrNothing() public {
        cb.fund(b, 10, 40);
        IChequebook.Cheque memory x = cheque(1, 30, 30, shop, 30);
        IChequebook.Signature memory s = signed(x);
        IChequebook.CashOrder memory o = order(x, shop, agent, 10);
        vm.prank(agent);
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.cashFor(b, x, s, o);
        cb.fund(b, 20, 0);
        vm.prank(agent);
        cb.cashFor(b, x, s, o);
        eq(smt.balanceOf(shop), 20, "less one fee");
    }

    function testCashBatch() public {
        cb.fund(b, 100, 40);
        Blacklisting t = new Blacklisting();
        t.mint(address(this), 100);
        t.approve(address(cb), 100);
        IChequebook.Book[] memory bs = new IChequebook.Book[](5);
        IChequebook.Cheque[] memory cs = new IChequebook.Cheque[](5);
        IChequebook.Signature[] memory ss = new IChequebook.Signature[](5);
        for (uint256 i = 0; i < 5; i++) {
            bs[i] = b;
            cs[i] = cheque(uint64(i + 1), 10, uint96(10 * (i + 1)), address(uint160(0x900 + i)), 10);
            ss[i] = signed(cs[i]);
        }
        ss[1] = ss[0];
        cs[2] = cs[0];
        ss[2] = ss[0];
        useBook(address(t));
        bs[3] = b;
        ss[3] = signed(cs[3]);
        cb.fund(b, 100, 0);
        t.list(cs[3].beneficiary, true);
        uint256 n = cb.cashBatch(bs, cs, ss);
        eq(n, 2, "first and last");
        check(100, 0, 1);
        (uint96 cashed,,) = cb.accounts(book, cs[3].beneficiary);
        eq(cashed, 0, "refused, and still due");
        useBook(address(smt));
        check(80, 40, 1);
        vm.expectRevert();
        cb.cashBatch(bs, cs, new IChequebook.Signature[](4));
    }

    function testBatchRefusalRestoresTheLock() public {
        Blacklisting t = new Blacklisting();
        t.mint(address(this), 100);
        t.approve(address(cb), 100);
        useBook(address(t));
        cb.fund(b, 50, 0);
        vm.prank(user);
        cb.lockFor(b, shop, 20, LATER, 0, nothing());
        t.list(shop, true);
        IChequebook.Book[] memory bs = new IChequebook.Book[](1);
        IChequebook.Cheque[] memory cs = new IChequebook.Cheque[](1);
        IChequebook.Signature[] memory ss = new IChequebook.Signature[](1);
        bs[0] = b;
        cs[0] = cheque(1, 30, 30, shop, 30);
        ss[0] = signed(cs[0]);
        vm.recordLogs();
        eq(cb.cashBatch(bs, cs, ss), 0, "refused");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[1].topics[0], keccak256("Returned(bytes32,address,uint256)"), "event");
        check(30, 0, 1);
        (uint96 cashed, uint96 locked,) = cb.accounts(book, shop);
        ok(cashed == 0 && locked == 20, "as before");
        failCash(cs[0], bytes4(keccak256("TokenFailed()")));
    }

    // ---------------------------------------------------------------- locks

    function lockSig(uint256 key, uint96 amount, uint40 until) internal view returns (IChequebook.Signature memory) {
        return sig(
            key,
            keccak256(
                abi.encode(
                    keccak256("Lock(bytes32 book,address beneficiary,uint96 amount,uint40 until,uint40 deadline)"),
                    book,
                    shop,
                    amount,
                    until,
                    LATER
                )
            )
        );
    }

    function testLock() public {
        cb.fund(b, 100, 40);
        uint40 until = uint40(START + 1000);
        IChequebook.Signature memory s = lockSig(SHOP_KEY, 70, until);
        vm.expectRevert(BAD_SIGNATURE);
        cb.lockFor(b, shop, 70, until, LATER, s);
        s = lockSig(ISSUER_KEY, 70, until);
        vm.expectRevert(BAD_SIGNATURE);
        cb.lockFor(b, shop, 71, until, LATER, s);
        vm.expectRevert(BAD_SIGNATURE);
        cb.lockFor(b, shop, 70, until + 1, LATER, s);
        vm.expectRevert(BAD_SIGNATURE);
        cb.lockFor(b, low, 70, until, LATER, s);
        vm.expectRevert(BAD_SIGNATURE);
        cb.lockFor(b, shop, 70, until, LATER + 1, s);
        vm.warp(LATER);
        vm.expectRevert(IChequebook.Expired.selector);
        cb.lockFor(b, shop, 70, until, LATER, s);
        vm.warp(LATER - 1);
        vm.recordLogs();
        cb.lockFor(b, shop, 70, until, LATER, s);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Locked(bytes32,address,uint256,uint40)"), "event");
        check(30, 40, 1);
        vm.expectRevert(IChequebook.Expired.selector);
        cb.lockFor(b, shop, 70, until, LATER, s);
        s = lockSig(USER_KEY, 80, until + 1);
        cb.lockFor(b, shop, 80, until + 1, LATER, s);
        check(20, 40, 1);
        vm.startPrank(issuer);
        vm.expectRevert(BAD_AMOUNT);
        cb.lockFor(b, shop, 79, until + 2, 0, nothing());
        vm.expectRevert(BAD_AMOUNT);
        cb.lockFor(b, shop, 101, until + 2, 0, nothing());
        vm.expectRevert(IChequebook.Expired.selector);
        cb.lockFor(b, low, 1, uint40(block.timestamp), 0, nothing());
        cb.lockFor(b, low, 1, uint40(block.timestamp + 1), 0, nothing());
        cb.lockFor(b, shop, 80, until + 2, 0, nothing());
        vm.stopPrank();
    }

    function testLockOfAllFunds() public {
        cb.fund(b, 100, 40);
        vm.prank(user);
        cb.lockFor(b, shop, 100, LATER, 0, nothing());
        check(0, 40, 1);
    }

    function testLockIsForOneBeneficiary() public {
        cb.fund(b, 100, 40);
        vm.prank(user);
        cb.lockFor(b, shop, 70, LATER, 0, nothing());
        cash(cheque(1, 50, 50, stranger, 50));
        eq(smt.balanceOf(stranger), 30, "the lock is not theirs");
        cash(cheque(2, 50, 100, shop, 50));
        eq(smt.balanceOf(shop), 50, "all");
        (uint96 cashed, uint96 locked,) = cb.accounts(book, shop);
        ok(cashed == 50 && locked == 20, "what is left of the lock");
    }

    function testReleaseBoundary() public {
        cb.fund(b, 100, 40);
        vm.prank(user);
        cb.lockFor(b, shop, 70, LATER, 0, nothing());
        vm.warp(LATER - 1);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.releaseLock(b, shop);
        vm.warp(LATER);
        uint256 snapshot = vm.snapshotState();
        cash(cheque(2, 50, 100, shop, 80));
        eq(smt.balanceOf(shop), 80, "not released, still there");
        vm.revertToState(snapshot);
        cb.releaseLock(b, shop);
        check(100, 40, 1);
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.releaseLock(b, shop);
    }

    function testNoLockWhileThawing() public {
        cb.fund(b, 100, 40);
        vm.startPrank(user);
        cb.startThaw(b, 0, nothing());
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.lockFor(b, shop, 70, LATER, 0, nothing());
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- thawing

    function testThawAndWithdraw() public {
        cb.fund(b, 100, 40);
        vm.startPrank(issuer);
        vm.expectRevert(IChequebook.Expired.selector);
        cb.startThaw(b, 0, nothing());
        vm.expectRevert(BAD_SIGNATURE);
        cb.startThaw(b, LATER, nothing());
        vm.stopPrank();
        vm.startPrank(user);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        cb.startThaw(b, 0, nothing());
        check(100, 40, 2);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.startThaw(b, 0, nothing());
        vm.warp(START + THAW - 1);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        vm.stopPrank();
        cash(cheque(1, 30, 30, shop, 30));
        vm.warp(START + THAW);
        vm.expectRevert(IChequebook.Expired.selector);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        vm.startPrank(user);
        vm.expectRevert(IChequebook.BadBook.selector);
        cb.withdraw(b, address(0), address(0), 0, 0, nothing());
        cb.withdraw(b, low, address(0), 7, 0, nothing());
        eq(smt.balanceOf(low), 1_000_110, "funds and bond, and no fee to oneself");
        check(0, 0, 4);
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        vm.stopPrank();
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.fund(b, 1, 1);
    }

    function testThawBySignature() public {
        cb.fund(b, 100, 40);
        bytes32 h = keccak256(abi.encode(keccak256("Thaw(bytes32 book,uint40 deadline)"), book, LATER));
        IChequebook.Signature memory s = sig(USER_KEY, h);
        vm.expectRevert(BAD_SIGNATURE);
        cb.startThaw(b, LATER + 1, s);
        vm.warp(LATER);
        vm.expectRevert(IChequebook.Expired.selector);
        cb.startThaw(b, LATER, s);
        vm.warp(LATER - 1);
        cb.startThaw(b, LATER, s);
        check(100, 40, 2);
    }

    function withdrawSig(address to, address agent_, uint96 fee, uint40 deadline)
        internal
        view
        returns (IChequebook.Signature memory)
    {
        return sig(
            USER_KEY,
            keccak256(
                abi.encode(
                    keccak256("Withdraw(bytes32 book,address to,address agent,uint96 fee,uint40 deadline)"),
                    book,
                    to,
                    agent_,
                    fee,
                    deadline
                )
            )
        );
    }

    function testWithdrawBySignature() public {
        cb.fund(b, 100, 40);
        vm.prank(user);
        cb.lockFor(b, shop, 50, uint40(START + THAW + 10), 0, nothing());
        vm.prank(user);
        cb.startThaw(b, 0, nothing());
        vm.warp(START + THAW);
        uint40 deadline = uint40(START + THAW + 1000);
        IChequebook.Signature memory s = withdrawSig(low, agent, 9, deadline);
        vm.prank(stranger);
        vm.expectRevert(IChequebook.WrongCaller.selector);
        cb.withdraw(b, low, agent, 9, deadline, s);
        vm.startPrank(agent);
        vm.expectRevert(BAD_SIGNATURE);
        cb.withdraw(b, high, agent, 9, deadline, s);
        vm.expectRevert(BAD_SIGNATURE);
        cb.withdraw(b, low, address(0), 9, deadline, s);
        vm.expectRevert(BAD_SIGNATURE);
        cb.withdraw(b, low, agent, 10, deadline, s);
        vm.expectRevert(BAD_SIGNATURE);
        cb.withdraw(b, low, agent, 9, deadline + 1, s);
        IChequebook.Signature memory big = withdrawSig(low, agent, 91, deadline);
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.withdraw(b, low, agent, 91, deadline, big);
        cb.withdraw(b, low, agent, 9, deadline, s);
        eq(smt.balanceOf(low), 1_000_081, "owner");
        eq(smt.balanceOf(agent), 1_000_009, "agent");
        vm.warp(START + THAW + 10);
        cb.releaseLock(b, shop);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.withdraw(b, low, agent, 9, deadline, s);
        vm.stopPrank();
        vm.prank(user);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        eq(smt.balanceOf(low), 1_000_131, "what the lock gave back, without a second fee");
    }

    // ---------------------------------------------------------------- fraud

    function prove(IChequebook.Cheque memory x, IChequebook.Cheque memory y) internal {
        cb.proveFraud(b, x, signed(x), y, signed(y));
    }

    function noFraud(IChequebook.Cheque memory x, IChequebook.Cheque memory y) internal {
        IChequebook.Signature memory xs = signed(x);
        IChequebook.Signature memory ys = signed(y);
        vm.expectRevert(IChequebook.NoFraud.selector);
        cb.proveFraud(b, x, xs, y, ys);
    }

    function testSameIndexIsFraud() public {
        cb.fund(b, 100, 41);
        vm.recordLogs();
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], keccak256("Fraud(bytes32,uint256,uint256,uint40)"), "event");
        eq(keccak256(logs[0].data), keccak256(abi.encode(21, 20, START + THAW)), "half burns, rounded up");
        eq(smt.balanceOf(GRAVE), 21, "burnt");
        check(100, 0, 3);
        (uint128 pot, uint128 sum) = cb.frauds(book);
        ok(pot == 20 && sum == 0, "pot");
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.fund(b, 1, 1);
    }

    function testTotalsThatOverlapAreFraud() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(5, 10, 50, shop, 10);
        noFraud(x, cheque(9, 20, 70, stranger, 20));
        noFraud(x, cheque(9, 20, 71, stranger, 20));
        uint256 snapshot = vm.snapshotState();
        prove(x, cheque(9, 20, 69, stranger, 20));
        vm.revertToState(snapshot);
        prove(x, cheque(9, 200, 69, stranger, 20));
    }

    function testBrokenChainIsFraud() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(5, 10, 50, shop, 10);
        IChequebook.Cheque memory y = cheque(6, 20, 70, stranger, 20);
        y.previous = hashOf(x);
        noFraud(x, y);
        IChequebook.Cheque memory z = cheque(7, 20, 90, stranger, 20);
        noFraud(x, z);
        y.previous = "other";
        prove(x, y);
    }

    function testNoFalseAccusation() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(5, 10, 50, shop, 10);
        noFraud(x, x);
        IChequebook.Cheque memory y = cheque(6, 20, 70, stranger, 20);
        y.previous = hashOf(x);
        noFraud(y, x);
        IChequebook.Signature memory xs = signed(x);
        IChequebook.Cheque memory z = cheque(5, 10, 50, stranger, 10);
        IChequebook.Signature memory zs = sig(USER_KEY, hashOf(z));
        vm.expectRevert(BAD_SIGNATURE);
        cb.proveFraud(b, x, xs, z, zs);
        vm.expectRevert(BAD_SIGNATURE);
        cb.proveFraud(b, z, zs, x, xs);
    }

    /// @dev Any two cheques of an honest run accuse nobody.
    function testFuzzHonestRun(uint64 start, uint32[8] memory amounts, uint8 i, uint8 j) public {
        cb.fund(b, 100, 40);
        i = i % 8;
        j = j % 8;
        IChequebook.Cheque[] memory run = new IChequebook.Cheque[](8);
        uint96 total;
        bytes32 previous;
        for (uint256 n = 0; n < 8; n++) {
            total += amounts[n];
            run[n] = IChequebook.Cheque(
                uint64(start % 1e9 + n), amounts[n], total, previous, address(uint160(0x900 + n % 3)), total
            );
            previous = hashOf(run[n]);
        }
        noFraud(run[i], run[j]);
    }

    function testFraudOnlyOnce() public {
        cb.fund(b, 100, 40);
        IChequebook.Cheque memory x = cheque(5, 10, 50, shop, 10);
        IChequebook.Cheque memory y = cheque(5, 10, 50, stranger, 10);
        IChequebook.Signature memory xs = signed(x);
        IChequebook.Signature memory ys = signed(y);
        cb.proveFraud(b, x, xs, y, ys);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.proveFraud(b, x, xs, y, ys);
    }

    function testFraudWhileThawing() public {
        cb.fund(b, 100, 40);
        vm.prank(user);
        cb.startThaw(b, 0, nothing());
        vm.warp(START + THAW - 1);
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        vm.warp(START + THAW);
        vm.prank(user);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        vm.warp(START + 2 * THAW - 1);
        vm.prank(user);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        check(0, 0, 3);
    }

    function testNoFraudOnAClosedBook() public {
        cb.fund(b, 100, 40);
        vm.startPrank(user);
        cb.startThaw(b, 0, nothing());
        vm.warp(START + THAW);
        cb.withdraw(b, low, address(0), 0, 0, nothing());
        vm.stopPrank();
        IChequebook.Cheque memory x = cheque(5, 10, 50, shop, 10);
        IChequebook.Cheque memory y = cheque(5, 10, 50, stranger, 10);
        IChequebook.Signature memory xs = signed(x);
        IChequebook.Signature memory ys = signed(y);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.proveFraud(b, x, xs, y, ys);
    }

    function claim(IChequebook.Cheque memory x) internal {
        cb.claim(b, x, signed(x));
    }

    function failClaim(IChequebook.Cheque memory x, bytes4 why) internal {
        IChequebook.Signature memory s = signed(x);
        vm.expectRevert(why);
        cb.claim(b, x, s);
    }

    function testClaimsProRata() public {
        cb.fund(b, 0, 100);
        failClaim(cheque(1, 10, 10, shop, 10), IChequebook.WrongPhase.selector);
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        claim(cheque(1, 40, 40, shop, 40));
        failClaim(cheque(1, 40, 40, shop, 40), IChequebook.NothingDue.selector);
        vm.recordLogs();
        claim(cheque(7, 400, 400, shop, 400));
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Claimed(bytes32,address,uint256)"), "event");
        eq(cb.claims(book, shop), 60, "the cap");
        failClaim(cheque(8, 400, 800, shop, 800), IChequebook.NothingDue.selector);
        claim(cheque(6, 15, 15, stranger, 15));
        failClaim(cheque(6, 15, 15, stranger, 15), IChequebook.NothingDue.selector);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.collect(b, shop);
        vm.warp(START + THAW - 1);
        vm.expectRevert(IChequebook.WrongPhase.selector);
        cb.burnSurplus(b);
        claim(cheque(6, 25, 25, low, 25));
        vm.warp(START + THAW);
        failClaim(cheque(6, 25, 25, high, 25), IChequebook.WrongPhase.selector);
        vm.recordLogs();
        cb.collect(b, shop);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("Collected(bytes32,address,uint256)"), "event");
        eq(smt.balanceOf(shop), 30, "60 of 100 of 50");
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.collect(b, shop);
        cb.collect(b, stranger);
        eq(smt.balanceOf(stranger), 7, "15 of 100 of 50, floored");
        cb.collect(b, low);
        eq(smt.balanceOf(low), 1_000_012, "25 of 100 of 50, floored");
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.burnSurplus(b);
        eq(smt.balanceOf(address(cb)), 1, "dust");
    }

    function testSurplusBurns() public {
        cb.fund(b, 0, 100);
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        claim(cheque(1, 20, 20, shop, 20));
        claim(cheque(1, 10, 30, stranger, 10));
        vm.warp(START + THAW);
        cb.collect(b, shop);
        eq(smt.balanceOf(shop), 20, "in full");
        vm.recordLogs();
        cb.burnSurplus(b);
        eq(vm.getRecordedLogs()[0].topics[0], keccak256("SurplusBurned(bytes32,uint256)"), "event");
        eq(smt.balanceOf(GRAVE), 70, "half and the surplus");
        vm.expectRevert(IChequebook.NothingDue.selector);
        cb.burnSurplus(b);
        cb.collect(b, stranger);
        eq(smt.balanceOf(stranger), 10, "in full");
        eq(smt.balanceOf(address(cb)), 0, "nothing left");
    }

    function testFundsStayCashableAfterFraud() public {
        cb.fund(b, 25, 100);
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        cash(cheque(7, 40, 90, shop, 40));
        eq(smt.balanceOf(shop), 25, "from the funds");
        claim(cheque(7, 40, 90, shop, 40));
        eq(cb.claims(book, shop), 15, "the bond answers for the rest");
        vm.warp(START + THAW);
        cb.collect(b, shop);
        eq(smt.balanceOf(shop), 40, "whole");
    }

    function testClaimNeedsTheIssuersSignature() public {
        cb.fund(b, 0, 100);
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        IChequebook.Cheque memory x = cheque(7, 40, 90, shop, 40);
        IChequebook.Signature memory s = sig(SHOP_KEY, hashOf(x));
        vm.expectRevert(BAD_SIGNATURE);
        cb.claim(b, x, s);
    }

    /// @dev A token that refuses to be burnt cannot save a fraud.
    function testFraudOnATokenThatRefuses() public {
        Blacklisting t = new Blacklisting();
        t.mint(address(this), 100);
        t.approve(address(cb), 100);
        t.list(GRAVE, true);
        useBook(address(t));
        cb.fund(b, 0, 100);
        prove(cheque(5, 10, 50, shop, 10), cheque(5, 10, 50, stranger, 10));
        check(0, 0, 3);
    }

    function testReentrancy() public {
        Hooked t = new Hooked();
        t.mint(address(this), 100);
        t.approve(address(cb), 100);
        useBook(address(t));
        cb.fund(b, 50, 50);
        IChequebook.Cheque memory x = cheque(1, 10, 10, shop, 10);
        IChequebook.Cheque memory y = cheque(2, 10, 20, shop, 20);
        IChequebook.Signature memory xs = signed(x);
        IChequebook.Signature memory ys = signed(y);
        IChequebook.Book memory bk = b;
        IChequebook.CashOrder memory o;
        bytes[] memory calls = new bytes[](13);
        calls[0] = abi.encodeCall(cb.cash, (bk, y, ys));
        calls[1] = abi.encodeCall(cb.releaseLock, (bk, shop));
        calls[2] = abi.encodeCall(cb.fund, (bk, 1, 1));
        calls[3] = abi.encodeCall(cb.onApprovalReceived, (user, 1, ""));
        calls[4] = abi.encodeCall(cb.cashFor, (bk, y, ys, o));
        calls[5] = abi.encodeCall(
            cb.cashBatch, (new IChequebook.Book[](0), new IChequebook.Cheque[](0), new IChequebook.Signature[](0))
        );
        calls[6] = abi.encodeCall(cb.lockFor, (bk, shop, 1, 1, 1, ys));
        calls[7] = abi.encodeCall(cb.startThaw, (bk, 1, ys));
        calls[8] = abi.encodeCall(cb.withdraw, (bk, shop, shop, 1, 1, ys));
        calls[9] = abi.encodeCall(cb.proveFraud, (bk, x, xs, y, ys));
        calls[10] = abi.encodeCall(cb.claim, (bk, x, xs));
        calls[11] = abi.encodeCall(cb.collect, (bk, shop));
        calls[12] = abi.encodeCall(cb.burnSurplus, (bk));
        for (uint96 i = 0; i < calls.length; i++) {
            t.setHook(address(cb), calls[i], true);
            x = cheque(uint64(1 + i), 1, 1 + i, shop, 1 + i);
            xs = signed(x);
            cb.cash(b, x, xs);
            ok(t.reached() && t.reason() == bytes4(keccak256("Reentered()")), "refused");
        }
    }
}
