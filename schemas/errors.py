"""The family of errors that people see: each says what was wrong, where, and what to do next."""


class CognistreamError(Exception):
    """Base of every error that the product raises on purpose."""


class FormatError(CognistreamError):
    """Bytes that are not what their format says."""
