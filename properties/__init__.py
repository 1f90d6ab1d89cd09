"""Verifies implementations of Patchify against the contract."""

from oracles.agreement import OracleError
from properties.case import Case
from properties.implementation import CannotRun
from properties.report import Failure, Report, VerificationFailed
from properties.run import verify

__all__ = ["CannotRun", "Case", "Failure", "OracleError", "Report", "VerificationFailed", "verify"]
