// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IChannels} from "./interfaces/IChannels.sol";
import {IRewards} from "./interfaces/IRewards.sol";

/// @title Rewards for relays that stay and serve
/// @notice Two channel partners who settle give up a share of the relay fees: they name this contract as the agent of
/// their cooperative close or withdrawal, and its fee is the share. A relay's reward follows from those shares alone and
/// is strictly below them, so paying oneself loses. What peers attest proves nothing and is not asked for.
contract Rewards is IRewards {
    using SafeERC20 for IERC20;

    uint256 public constant EPOCH = 7 days;
    /// @dev Time after an epoch in which its rewards can be claimed.
    uint256 public constant CLAIM_WINDOW = 28 days;
    uint256 public constant THAW = 14 days;
    uint96 public constant BOND_MIN = 1_000e18;
    /// @dev Reward in percent of the damped share; below 100, so that it is always less than what was given up.
    uint256 public constant PERCENT = 80;
    /// @dev Up to this share per partner and epoch counts in full, above it the square root: x becomes sqrt(x * DAMPING).
    uint256 public constant DAMPING = 100e18;
    /// @dev A relay earns at most this part of its bond in one epoch.
    uint256 public constant CAP_DIVISOR = 10;

    struct Bond {
        uint96 amount;
        uint40 thawAt;
    }

    IChannels public immutable channels;
    IERC20 public immutable smt;

    mapping(address relay => Bond) public bonds;
    mapping(uint256 epoch => mapping(address relay => mapping(address partner => uint256))) public given;
    mapping(uint256 epoch => mapping(address relay => uint256)) private earned;
    /// @dev What this contract still holds of an epoch's shares.
    mapping(uint256 epoch => uint256) public pools;

    address private constant GRAVE = 0x000000000000000000000000000000000000dEaD;

    constructor(address channels_, address smt_) {
        channels = IChannels(channels_);
        smt = IERC20(smt_);
    }

    // ---------------------------------------------------------------- bonds

    function bond(uint96 amount) external {
        _bond(msg.sender, amount);
    }

    /// @notice ERC-1363, from SMT only: `owner` bonds `value` for its own key; `data` is not used.
    function onApprovalReceived(address owner, uint256 value, bytes calldata) external returns (bytes4) {
        if (msg.sender != address(smt)) revert NotSMT();
        if (value > type(uint96).max) revert BadAmount();
        _bond(owner, uint96(value));
        return this.onApprovalReceived.selector;
    }

    function _bond(address relay, uint96 amount) private {
        Bond storage b = bonds[relay];
        if (b.thawAt != 0) revert TooEarly();
        b.amount += amount;
        if (b.amount < BOND_MIN) revert BadAmount();
        emit Bonded(relay, b.amount);
        smt.safeTransferFrom(relay, address(this), amount);
    }

    function startThaw() external {
        Bond storage b = bonds[msg.sender];
        if (b.amount == 0 || b.thawAt != 0) revert NotBonded();
        b.thawAt = uint40(block.timestamp + THAW);
        emit BondThawing(msg.sender, b.thawAt);
    }

    function withdrawBond(address relay) external {
        Bond storage b = bonds[relay];
        if (b.thawAt == 0 || block.timestamp < b.thawAt) revert TooEarly();
        uint256 amount = b.amount;
        b.amount = 0;
        b.thawAt = 0;
        emit BondReturned(relay, amount);
        smt.safeTransfer(relay, amount);
    }

    // ---------------------------------------------------------------- shares given up at settlement

    function coopClose(
        IChannels.Channel calldata c,
        IChannels.Payouts calldata p,
        IChannels.Signature calldata lowSignature,
        IChannels.Signature calldata highSignature
    ) external {
        if (p.agent != address(this)) revert NotAgent();
        uint256 before = smt.balanceOf(address(this));
        channels.coopClose(c, p, lowSignature, highSignature);
        _credit(c, smt.balanceOf(address(this)) - before, p.fee);
    }

    function withdraw(
        IChannels.Channel calldata c,
        IChannels.Withdrawal calldata w,
        IChannels.Signature calldata lowSignature,
        IChannels.Signature calldata highSignature
    ) external {
        if (w.agent != address(this)) revert NotAgent();
        uint256 before = smt.balanceOf(address(this));
        channels.withdraw(c, w, lowSignature, highSignature);
        _credit(c, smt.balanceOf(address(this)) - before, w.fee);
    }

    /// @dev The bonded party is the relay; if both are, each has given up half.
    function _credit(IChannels.Channel calldata c, uint256 arrived, uint256 share) private {
        if (c.token != address(smt)) revert NotSMT();
        if (share == 0 || arrived < share) revert BadAmount();
        bool low = _bonded(c.low);
        bool high = _bonded(c.high);
        if (!low && !high) revert NotBonded();
        uint256 epoch = currentEpoch();
        pools[epoch] += share;
        uint256 lowShare = low ? (high ? share / 2 : share) : 0;
        if (low) _earn(epoch, c.low, c.high, lowShare);
        if (high) _earn(epoch, c.high, c.low, share - lowShare);
    }

    function _earn(uint256 epoch, address relay, address partner, uint256 share) private {
        uint256 before = given[epoch][relay][partner];
        given[epoch][relay][partner] = before + share;
        uint256 reward = _damped(before + share) - _damped(before);
        earned[epoch][relay] += reward;
        emit GivenUp(relay, partner, epoch, share, reward);
    }

    /// @dev Reward for a partner's whole share in an epoch: never above `PERCENT` of it.
    function _damped(uint256 share) private pure returns (uint256) {
        return (share <= DAMPING ? share : Math.sqrt(share * DAMPING)) * PERCENT / 100;
    }

    // ---------------------------------------------------------------- rewards

    function claim(address relay, uint256 epoch) external {
        if (block.timestamp < (epoch + 1) * EPOCH || block.timestamp >= (epoch + 1) * EPOCH + CLAIM_WINDOW) {
            revert TooEarly();
        }
        uint256 amount = rewardOf(relay, epoch);
        if (amount == 0) revert NothingDue();
        earned[epoch][relay] = 0;
        pools[epoch] -= amount;
        emit Rewarded(relay, epoch, amount);
        smt.safeTransfer(relay, amount);
    }

    function burn(uint256 epoch) external {
        if (block.timestamp < (epoch + 1) * EPOCH + CLAIM_WINDOW) revert TooEarly();
        uint256 amount = pools[epoch];
        if (amount == 0) revert NothingDue();
        pools[epoch] = 0;
        emit Burned(epoch, amount);
        smt.safeTransfer(GRAVE, amount);
    }

    function currentEpoch() public view returns (uint256) {
        return block.timestamp / EPOCH;
    }

    /// @notice What `relay` may claim of `epoch`: its damped sum, at most a tenth of its bond.
    function rewardOf(address relay, uint256 epoch) public view returns (uint256) {
        uint256 amount = earned[epoch][relay];
        uint256 cap = bonds[relay].amount / CAP_DIVISOR;
        return amount < cap ? amount : cap;
    }

    function _bonded(address relay) private view returns (bool) {
        return bonds[relay].amount >= BOND_MIN && bonds[relay].thawAt == 0;
    }
}
