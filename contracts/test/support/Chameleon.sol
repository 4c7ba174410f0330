// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

interface ISettles {
    struct Channel {
        address token;
        address low;
        address high;
        uint16 terms;
    }

    function settleBatch(Channel[] calldata cs, uint256[8][] calldata ks) external returns (uint256);
}

interface ICashes {
    struct Book {
        address token;
        address owner;
        address issuer;
        uint96 cap;
        uint40 thaw;
    }

    struct Cheque {
        uint64 index;
        uint96 increment;
        uint96 total;
        bytes32 previous;
        address beneficiary;
        uint96 cumulative;
    }

    struct Signature {
        bytes32 r;
        bytes32 vs;
    }

    function cashBatch(Book[] calldata b, Cheque[] calldata c, Signature[] calldata s) external returns (uint256);
}

/// @notice The hostile token of the random histories: changes its manners as told. An allowance is endless.
contract Chameleon {
    enum Manner {
        Plain,
        TakesTenth,
        ReturnsNothing,
        SaysNo,
        Reverts,
        BurnsGas,
        CallsBack
    }

    address private constant TAX = address(0x7A5);

    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => bool)) private allowed;
    mapping(address account => bool) public refused;
    /// @notice Calls back that got in, which none may.
    uint256 public entered;
    Manner private manner;

    constructor(address holder, uint256 supply) {
        balanceOf[holder] = supply;
    }

    function behave(Manner m) external {
        manner = m;
    }

    function refuse(address account, bool yes) external {
        refused[account] = yes;
    }

    function approve(address spender, uint256) external returns (bool) {
        allowed[msg.sender][spender] = true;
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        require(amount == 0 || allowed[from][msg.sender]);
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (manner == Manner.SaysNo) return false;
        if (manner == Manner.Reverts) revert("no");
        if (manner == Manner.BurnsGas) {
            assembly {
                invalid()
            }
        }
        require(!refused[to]);
        _callBack();
        balanceOf[from] -= amount;
        uint256 tax = manner == Manner.TakesTenth ? amount / 10 : 0;
        balanceOf[to] += amount - tax;
        balanceOf[TAX] += tax;
        _callBack();
        if (manner == Manner.ReturnsNothing) {
            assembly {
                return(0, 0)
            }
        }
        return true;
    }

    /// @dev As ERC-777 does, before and after the balances move.
    function _callBack() private {
        if (manner != Manner.CallsBack) return;
        try ISettles(msg.sender).settleBatch(new ISettles.Channel[](0), new uint256[8][](0)) {
            entered++;
        } catch {}
        try ICashes(msg.sender).cashBatch(new ICashes.Book[](0), new ICashes.Cheque[](0), new ICashes.Signature[](0)) {
            entered++;
        } catch {}
    }
}
