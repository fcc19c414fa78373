"""Erasure of personal data (GDPR article 17): the one call that does it, and again if the person's names changed."""

from uuid import UUID

import asyncpg

from engine.attempts import ATTEMPTS
from engine.observer import NOBODY, Observer
from engine.refusals import Busy, Conflict
from engine.store import Cause, NewEvent
from projections.certificate import LONGEST, Basis, Certificate, certify


class Erasures:
    """Erases people. Nothing that was erased can be brought back."""

    def __init__(self, pool: asyncpg.Pool, observer: Observer = NOBODY) -> None:
        self._pool = pool
        self._observer = observer

    async def erase(self, user_id: UUID, cause: Cause, basis: Basis | None) -> Certificate:
        """Erase a person, all or nothing; again, and there is nothing to do but to certify it.

        Raises NotFound if there never was such a person, Conflict if a valid token is named after the person, Busy if
        the person got another name each time.
        """
        is_new = await self._attempt(user_id, cause, basis)
        certificate, event = await certify(self._pool, cause.tenant_id, user_id)
        if is_new:
            self._observer.committed([NewEvent(user_id, None, event, cause)], 1)
        return certificate

    async def _attempt(self, user_id: UUID, cause: Cause, basis: Basis | None) -> bool:
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                return bool(await self._pool.fetchval(_ERASE, *_arguments(user_id, cause, basis), timeout=LONGEST))
            except asyncpg.IntegrityConstraintViolationError as error:
                if error.constraint_name == "no_valid_token_names_the_person":
                    raise Conflict(
                        "A valid token is named after this person. Issue another one under a neutral name, revoke the "
                        "old one (rollbook token list, rollbook token revoke), and erase again."
                    ) from None
                if error.constraint_name != "version_is_expected":
                    raise
                self._observer.lost_race(attempts_left)
        raise Busy("Others are changing this person's names at this moment; try again.")


def _arguments(user_id: UUID, cause: Cause, basis: Basis | None) -> tuple[object, ...]:
    return cause.tenant_id, user_id, cause.source, cause.actor, cause.token_id, cause.request_id, basis


_ERASE = "SELECT rollbook.erase($1, $2, $3, $4, $5, $6, $7)"
