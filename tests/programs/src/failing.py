import logging
import warnings

import pytest

log = logging.getLogger("orders")


class OutOfStock(Exception):
    pass


def reserve(stock, item, count):
    log.info("reserving %d of %s", count, item)
    try:
        left = stock[item] - count
    except KeyError as error:
        raise OutOfStock(f"no {item} here") from error
    return {**stock, item: left}


@pytest.fixture
def stock():
    return {"apple": 5, "pear": 2}


def test_reserve(stock):
    assert reserve(stock, "apple", 2) == {"apple": 3, "pear": 2}


def test_what_is_left(stock):
    assert reserve(stock, "pear", 1) == {"apple": 5, "pear": 2}


def test_unknown(stock):
    log.warning("about to fail")
    reserve(stock, "plum", 1)


def test_old():
    warnings.warn("reserve() is deprecated", DeprecationWarning)


@pytest.mark.skip(reason="needs a warehouse")
def test_warehouse():
    pass
