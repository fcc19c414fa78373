"""How one key of a store says that another one follows it: a note that the older key signs."""

from engine.note import BadSignatureError, SigningKey, VerifierKey, read_note

_NEXT = "next key"


def endorse(key: SigningKey, successor: VerifierKey) -> str:
    """The signed note. Both keys have the store's own name."""
    return key.sign(_text(key.verifier, successor))


def check_endorsement(note: str, key: VerifierKey, successor: VerifierKey) -> None:
    """Raises MalformedNoteError, or BadSignatureError if the key does not say that this one follows it."""
    signed = read_note(note)
    signed.verify([key])
    if signed.text != _text(key, successor):
        raise BadSignatureError(f"The note of {key.name} endorses another key.")


def _text(key: VerifierKey, successor: VerifierKey) -> str:
    return f"{key.name}\n{_NEXT}\n{successor.text}\n"
