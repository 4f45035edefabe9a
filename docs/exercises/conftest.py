"""`pytest docs/exercises --answers` checks the answers instead of yours."""


def pytest_addoption(parser):
    parser.addoption("--answers", action="store_true")
