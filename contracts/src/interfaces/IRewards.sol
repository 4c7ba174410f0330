// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannels} from "./IChannels.sol";

/// @title Rewards for relays that stay and serve
/// @notice A reward follows from the share of relay fees that channel partners give up at settlement, and stays below it.
interface IRewards {
    event Bonded(address indexed relay, uint256 bond);
    event BondThawing(address indexed relay, uint40 time);
    event BondReturned(address indexed relay, uint256 amount);
    event GivenUp(address indexed relay, address indexed partner, uint256 indexed epoch, uint256 amount, uint256 reward);
    event Rewarded(address indexed relay, uint256 indexed epoch, uint256 amount);
    event Burned(uint256 indexed epoch, uint256 amount);

    error NotSMT();
    error NotAgent();
    error NotBonded();
    error BadAmount();
    error TooEarly();
    error NothingDue();

    /// @notice Bonds `amount` SMT of the caller, whose address is the relay's channel key.
    function bond(uint96 amount) external;
    function onApprovalReceived(address owner, uint256 value, bytes calldata data) external returns (bytes4);
    function startThaw() external;
    /// @notice After the thaw: the bond goes back to the relay's key.
    function withdrawBond(address relay) external;
    /// @notice Cooperative close whose fee is the share given up; the payouts name this contract as the agent.
    function coopClose(
        IChannels.Channel calldata c,
        IChannels.Payouts calldata p,
        IChannels.Signature calldata lowSignature,
        IChannels.Signature calldata highSignature
    ) external;
    /// @notice Withdrawal whose fee is the share given up; it names this contract as the agent.
    function withdraw(
        IChannels.Channel calldata c,
        IChannels.Withdrawal calldata w,
        IChannels.Signature calldata lowSignature,
        IChannels.Signature calldata highSignature
    ) external;
    /// @notice After the epoch: pays `relay` min(its damped sum, its cap).
    function claim(address relay, uint256 epoch) external;
    /// @notice After the claim window: burns what the epoch did not pay out.
    function burn(uint256 epoch) external;

    function currentEpoch() external view returns (uint256);
    function rewardOf(address relay, uint256 epoch) external view returns (uint256);
}
