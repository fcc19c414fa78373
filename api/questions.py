"""Every audit question: what `/v1`, `rollbook audit` and the exports can be asked."""

from typing import Any

from api import event_questions
from projections.question import Question
from projections.questions import (
    attributes,
    bulk_acts,
    changes,
    memberships,
    moves,
    requests,
    rosters,
    seats_taken,
    tokens_listed,
)

QUESTIONS: tuple[Question[Any, Any], ...] = (
    event_questions.EVENTS,
    event_questions.STORY,
    rosters.PERSON,
    rosters.ROSTER,
    memberships.GROUP_MEMBERS,
    memberships.PERSON_GROUPS,
    changes.CHANGES,
    attributes.ATTRIBUTE_CHANGES,
    attributes.LOCAL_EDITS,
    attributes.IDENTITIES,
    moves.JOINERS,
    moves.LEAVERS,
    moves.MOVERS,
    seats_taken.SEATS_THEN,
    seats_taken.SEAT_CHANGES,
    seats_taken.SEAT_PEAKS,
    tokens_listed.TOKENS,
    event_questions.SETTINGS_CHANGES,
    event_questions.REFUSALS,
    event_questions.ACCESSES,
    bulk_acts.BULK_ACTS,
    requests.SYNC,
    requests.SYNC_STATE,
    requests.SYNC_TOKENS,
    requests.SYNC_REFUSALS,
    requests.REQUESTS,
    requests.PRUNES,
)
