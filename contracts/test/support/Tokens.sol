// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

interface ISpender {
    function onApprovalReceived(address owner, uint256 value, bytes calldata data) external returns (bytes4);
}

/// @notice A plain token that anybody may mint, base of the hostile ones.
contract Plain {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external virtual returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external virtual returns (bool) {
        allowance[from][msg.sender] -= amount;
        _move(from, to, amount);
        return true;
    }

    function _move(address from, address to, uint256 amount) internal virtual {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice Keeps a tenth of each transfer.
contract FeeOnTransfer is Plain {
    function _move(address from, address to, uint256 amount) internal override {
        balanceOf[from] -= amount;
        balanceOf[to] += amount - amount / 10;
    }
}

/// @notice Returns nothing, as early tokens did.
contract NoReturn {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice Says no, reverts, burns its gas, floods the return data or lies, as told.
contract Moody is Plain {
    enum Mood {
        Good,
        False,
        Revert,
        BurnGas,
        Flood,
        Two,
        Short
    }

    Mood public mood;

    function setMood(Mood m) external {
        mood = m;
    }

    function transfer(address to, uint256 amount) external override returns (bool) {
        _act();
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external override returns (bool) {
        _act();
        _move(from, to, amount);
        return true;
    }

    function _act() private view {
        if (mood == Mood.False) {
            assembly {
                mstore(0, 0)
                return(0, 32)
            }
        }
        if (mood == Mood.Two) {
            assembly {
                mstore(0, 2)
                return(0, 32)
            }
        }
        if (mood == Mood.Short) {
            assembly {
                mstore(0, shl(255, 1))
                return(0, 1)
            }
        }
        if (mood == Mood.Revert) revert("no");
        if (mood == Mood.BurnGas) {
            assembly {
                invalid()
            }
        }
        if (mood == Mood.Flood) {
            assembly {
                revert(0, 400000)
            }
        }
    }
}

/// @notice Refuses to pay those on its list.
contract Blacklisting is Plain {
    mapping(address => bool) public listed;

    function list(address account, bool yes) external {
        listed[account] = yes;
    }

    function _move(address from, address to, uint256 amount) internal override {
        require(!listed[from] && !listed[to], "listed");
        super._move(from, to, amount);
    }
}

/// @notice Calls somebody back in each transfer, as ERC-777 does, before (`early`) or after the balances move.
contract Hooked is Plain {
    address public target;
    bytes public call_;
    bool public early;
    bool public reached;
    bool public succeeded;
    /// @dev First four bytes of what the call back was refused with.
    bytes4 public reason;

    function setHook(address target_, bytes calldata data, bool early_) external {
        target = target_;
        call_ = data;
        early = early_;
        reached = false;
        succeeded = false;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (early) _hook();
        super._move(from, to, amount);
        if (!early) _hook();
    }

    function _hook() private {
        if (target == address(0) || reached) return;
        reached = true;
        bytes memory answer;
        (succeeded, answer) = target.call(call_);
        reason = bytes4(answer);
    }

    /// @dev ERC-1363 in the hands of somebody bad: calls the spender with any words.
    function callback(address spender, address owner, uint256 value, bytes calldata data) external {
        ISpender(spender).onApprovalReceived(owner, value, data);
    }
}

/// @notice Not a token: claims a balance that grows by itself when asked.
contract Liar {
    uint256 private told;

    function balanceOf(address) external returns (uint256) {
        told += 1000;
        return told;
    }

    function transferFrom(address, address, uint256) external pure returns (bool) {
        return true;
    }
}

/// @notice Says that it holds more than any amount, after a transfer of nothing.
contract Inflating {
    uint256 private held;

    function balanceOf(address) external view returns (uint256) {
        return held;
    }

    function transferFrom(address, address, uint256 amount) external returns (bool) {
        held = type(uint256).max - amount;
        return true;
    }
}

/// @notice An ERC-1271 wallet whose owner is one key.
contract Wallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s, uint8 v) = abi.decode(signature, (bytes32, bytes32, uint8));
        return ecrecover(hash, v, r, s) == OWNER ? bytes4(0x1626ba7e) : bytes4(0);
    }
}
