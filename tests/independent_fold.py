"""The answers to the audit questions, told from raw rows of the log by the simplest code: nothing of ours is used."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

Json = dict[str, Any]
Given = Mapping[str, str]

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MANAGER = f"{ENTERPRISE}:manager.value"
PLACE = ["title", "userType", "entitlements", MANAGER]
PLACE += [f"{ENTERPRISE}:{each}" for each in ("department", "division", "organization", "costCenter")]


@dataclass
class Happened:
    """A row of the log."""

    seq: int
    stream: str
    version: int
    type: str
    at: datetime
    source: str
    actor: str
    token_id: str | None
    request_id: str
    data: Json | None


def happened(row: asyncpg.Record) -> Happened:
    columns = dict(row)
    data = columns.pop("data")
    return Happened(**columns, data=data and json.loads(data))


def shown_time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def read_past(connection: asyncpg.Connection, tenant_id: UUID) -> "Past":
    rows = await connection.fetch(
        "SELECT seq, stream_id::text AS stream, version, type, recorded_at AS at, source, actor, "
        "token_id::text AS token_id, request_id::text AS request_id, data::text AS data "
        "FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq",
        tenant_id,
    )
    return Past(str(tenant_id), [happened(row) for row in rows])


class Past:
    """All that happened in a tenant."""

    def __init__(self, tenant_id: str, events: Sequence[Happened]) -> None:
        self.tenant_id = tenant_id
        self.events = events
        self.erased = {each.stream: each for each in events if each.type == "PersonalDataErased"}
        self.streams: defaultdict[str, list[Happened]] = defaultdict(list)
        for each in events:
            self.streams[each.stream].append(each)
        self.people = sorted((each for each in self.streams if each != tenant_id), key=lambda each: UUID(each).int)

    def answer(self, question: str, given: Given) -> list[Json]:
        answers: dict[str, Callable[[Given], list[Json]]] = {
            "events": self.chosen,
            "history": self.story,
            "person": self.person,
            "roster": self.roster,
            "changes": self.changes,
            "joiners": self.joiners,
            "leavers": self.leavers,
            "movers": self.movers,
            "seats-then": self.seats_then,
            "seat-changes": self.seat_changes,
            "seat-peaks": self.seat_peaks,
            "tokens": self.tokens,
            "settings-changes": lambda given: self.of_types(
                given, "TenantRegistered", "SettingsChanged", "TokenIssued", "TokenRevoked"
            ),
            "refusals": lambda given: self.of_types(given, "RequestRefused"),
            "accesses": lambda given: self.of_types(given, "AuditAccessed", "EvidenceExported"),
            "bulk-acts": self.bulk_acts,
        }
        return answers[question](given)

    # The part of the log that is asked about.

    def part(self, given: Given) -> list[Happened]:
        return [
            each
            for each in self.events
            if ("from" not in given or each.at >= moment(given["from"]))
            and ("to" not in given or each.at < moment(given["to"]))
            and each.seq > int(given.get("after_seq", 0))
            and ("to_seq" not in given or each.seq <= int(given["to_seq"]))
        ]

    def seq_then(self, given: Given) -> int:
        if "as_of_seq" in given:
            return int(given["as_of_seq"])
        known = [each.seq for each in self.events if "as_of" not in given or each.at <= moment(given["as_of"])]
        return max(known, default=0)

    # States.

    def state(self, person: str, seq: int) -> Json | None:
        if person in self.erased or person == self.tenant_id:
            return None
        state: Json | None = None
        for event in self.streams[person]:
            if event.seq <= seq:
                state = next_state(state, event)
        return state

    def shown_person(self, person: str, seq: int) -> Json | None:
        state = self.state(person, seq)
        if state is None:
            return None
        granted = next(each for each in self.streams[person] if each.seq == state["granted"])
        ended = next(
            (
                each
                for each in self.streams[person]
                if each.seq > granted.seq and each.type in {"RoleAssigned", "UserDeleted"}
            ),
            None,
        )
        return {
            "id": person,
            "userName": state["attributes"]["userName"],
            "active": state["active"],
            "role": state["role"],
            "is_deleted": state["is_deleted"],
            "role_granted": by(granted),
            "role_ended": ended and by(ended),
            "version": state["version"],
            "created_at": shown_time(state["created_at"]),
            "modified_at": shown_time(state["modified_at"]),
            "deleted_at": shown_time(state["deleted_at"]),
            "local_edits": sorted(key for key, source in state["sources"].items() if source == "local"),
            "attributes": tree({k: v for k, v in state["attributes"].items() if k not in {"userName", "role"}}),
        }

    def person(self, given: Given) -> list[Json]:
        found = self.shown_person(given["id"], self.seq_then(given))
        return [found] if found else []

    def roster(self, given: Given) -> list[Json]:
        seq = self.seq_then(given)
        found = [self.shown_person(person, seq) for person in self.people if self.is_chosen(person, seq, given)]
        return [each for each in found if each]

    def is_chosen(self, person: str, seq: int, given: Given) -> bool:
        state = self.state(person, seq)
        if state is None:
            return False
        chosen = [
            "role" not in given or state["role"] in given["role"].split(","),
            "active" not in given or state["active"] == (given["active"] == "true"),
            "deleted" not in given or state["is_deleted"] == (given["deleted"] == "true"),
            "manager" not in given or (MANAGER in state["attributes"]) == (given["manager"] == "true"),
            "inactive_since" not in given or not self.was_active(person, moment(given["inactive_since"]), seq),
            "untouched_since" not in given or state["modified_at"] < moment(given["untouched_since"]),
        ]
        return all(chosen)

    def was_active(self, person: str, since: datetime, seq: int) -> bool:
        """Active up to the end, or in a state that ended later than that."""
        stream = self.streams[person]
        for place, event in enumerate(stream):
            state = self.state(person, event.seq)
            if event.seq <= seq and state is not None and state["active"]:
                ended = stream[place + 1] if place + 1 < len(stream) else None
                if ended is None or ended.seq > seq or ended.at > since:
                    return True
        return False

    # Events.

    def shown(self, event: Happened) -> Json:
        data = event.data or {}
        before, after = before_and_after(event)
        return {
            "seq": event.seq,
            "user_id": None if event.stream == self.tenant_id else event.stream,
            "version": event.version,
            "type": event.type,
            "recorded_at": shown_time(event.at),
            "source": event.source,
            "actor": event.actor,
            "token_id": event.token_id,
            "request_id": event.request_id,
            "before": before,
            "after": after,
            "overwrote": data.get("overwrote", {}),
            "confirmed": data.get("confirmed", {}),
            "data": event.data,
        }

    def chosen(self, given: Given) -> list[Json]:
        found = [
            each
            for each in self.events
            if ("user" not in given or each.stream == given["user"])
            and ("type" not in given or each.type in given["type"].split(","))
            and ("source" not in given or each.source == given["source"])
            and ("actor" not in given or each.actor == given["actor"])
            and ("token" not in given or each.token_id == given["token"])
            and ("request" not in given or each.request_id == given["request"])
            and ("since" not in given or each.at >= moment(given["since"]))
            and ("until" not in given or each.at < moment(given["until"]))
            and ("after" not in given or each.seq > int(given["after"]))
            and ("before" not in given or each.seq < int(given["before"]))
        ]
        return [self.shown(each) for each in (found if given.get("order") == "asc" else reversed(found))]

    def of_types(self, given: Given, *types: str) -> list[Json]:
        return [
            self.shown(each)
            for each in self.part(given)
            if each.type in types
            and ("actor" not in given or each.actor == given["actor"])
            and ("token" not in given or each.token_id == given["token"])
        ]

    def story(self, given: Given) -> list[Json]:
        person = given["id"]
        return [self.shown(each) for each in self.part(given) if each.stream == person or self.is_about(each, person)]

    def is_about(self, event: Happened, person: str) -> bool:
        if event.type != "RequestRefused" or event.data is None:
            return False
        if event.data.get("user_id"):
            return bool(event.data["user_id"] == person)
        name = event.data.get("subject", {}).get("userName", "").lower()
        first, then = self.state(person, self.streams[person][0].seq), self.state(person, event.seq)
        if first is None:
            return False
        if then is None:
            return bool(first["attributes"]["userName"].lower() == name) and event.data.get("scim_type") != "uniqueness"
        return bool(then["attributes"]["userName"].lower() == name) and not then["is_deleted"]

    # What changed, and who moved.

    def changes(self, given: Given) -> list[Json]:
        part = self.part(given)
        begin = min((each.seq for each in part), default=1) - 1
        end = max((each.seq for each in part), default=0)
        first: dict[str, int] = {}
        for each in part:
            if each.stream != self.tenant_id and given.get("user", each.stream) == each.stream:
                first.setdefault(each.stream, each.seq)
        return [self.changed(person, seq, begin, end) for person, seq in first.items()]

    def changed(self, person: str, seq: int, begin: int, end: int) -> Json:
        nobody: Json = {"active": None, "role": None, "is_deleted": None, "attributes": {}, "version": 0}
        then, now = self.state(person, begin), self.state(person, end)
        before, after = then or nobody, now or nobody
        old, new = before["attributes"], after["attributes"]
        differ = {
            key: {"from": old.get(key), "to": new.get(key)}
            for key in sorted({*old, *new} - {"role"})
            if old.get(key) != new.get(key)
        }
        left = (before["active"] and not after["active"]) or (after["is_deleted"] and not before["is_deleted"])
        kinds = {
            "joined": then is None,
            "left": left,
            "returned": then is not None and not before["active"] and after["active"],
            "role": then is not None and before["role"] != after["role"],
            "attributes": then is not None and differ,
        }
        return {
            "first_seq": seq,
            "user_id": person,
            "userName": new.get("userName"),
            "kinds": [kind for kind, so in kinds.items() if so and now is not None],
            **{key: {"from": before[key], "to": after[key]} for key in ("active", "role", "is_deleted")},
            "changes": differ,
            "events": after["version"] - before["version"] if now else None,
        }

    def moved(self, event: Happened) -> Json:
        state = self.state(event.stream, event.seq)
        return {
            "seq": event.seq,
            "recorded_at": shown_time(event.at),
            "user_id": event.stream,
            "userName": state and state["attributes"]["userName"],
            "type": event.type,
            **{key: getattr(event, key) for key in ("source", "actor", "token_id", "request_id")},
        }

    def joiners(self, given: Given) -> list[Json]:
        return [self.joiner(each) for each in self.part(given) if each.type == "UserProvisioned"]

    def joiner(self, event: Happened) -> Json:
        data = event.data or {}
        later = [each for each in self.streams[event.stream] if each.type == "RoleAssigned" and each.data]
        first = later[0] if later else None
        return {
            **self.moved(event),
            "active": data.get("active"),
            "role": data.get("role"),
            "assigned_role": (first.data or {})["to"] if first else None,
            "assigned_at": first and shown_time(first.at),
            "seconds_until_assigned": (first.at - event.at).total_seconds() if first else None,
        }

    def leavers(self, given: Given) -> list[Json]:
        target = int(given.get("target_seconds", 60))
        found = [self.leaver(each, target) for each in self.part(given) if each.type in {"Deactivated", "UserDeleted"}]
        wanted = {"true": True, "false": False}.get(given.get("in_time", ""))
        return [each for each in found if wanted is None or each["in_time"] is wanted]

    def leaver(self, event: Happened, target: int) -> Json:
        arrived = arrival(event.request_id)
        seconds = max((event.at - arrived).total_seconds(), 0.0) if arrived else None
        stream = self.streams[event.stream]
        back = next((each for each in stream if each.seq > event.seq and each.type == "Reactivated"), None)
        was_active = True if event.type == "Deactivated" else (event.data or {}).get("active")
        return {
            **self.moved(event),
            "requested_at": shown_time(arrived),
            "seconds": seconds,
            "in_time": None if seconds is None else seconds <= target,
            "was_active": was_active,
            "returned_at": back and shown_time(back.at),
        }

    def movers(self, given: Given) -> list[Json]:
        roles = set(given["role"].split(",")) if "role" in given else None
        found = [each for each in self.part(given) if each.type == "RoleAssigned"]
        return [
            self.mover(each)
            for each in found
            if roles is None or (each.data is not None and roles & {each.data["from"], each.data["to"]})
        ]

    def mover(self, event: Happened) -> Json:
        data, state = event.data or {}, self.state(event.stream, event.seq)
        beside = [each for each in self.streams[event.stream] if each.request_id == event.request_id]
        changed = sorted(key for each in beside for key in (each.data or {}).get("changes", {}))
        attributes = state["attributes"] if state else {}
        return {
            **self.moved(event),
            "before": data.get("from"),
            "after": data.get("to"),
            "changed": changed,
            "kept": {key: value for key, value in attributes.items() if key in PLACE and key not in changed},
        }

    # Seats.

    def curve(self) -> Iterator[Json]:
        """Each change, with all that there is to say of it."""
        taken: Counter[str] = Counter()
        for event in self.events:
            difference = self.seats_of(event)
            if difference:
                before = sum(taken.values())
                taken.update(difference)
                by_role = {role: taken[role] for role in sorted(taken) if taken[role]}
                active = sum(by_role.values())
                yield {
                    "seq": event.seq,
                    "recorded_at": shown_time(event.at),
                    "active": active,
                    "by_role": by_role,
                    "change": active - before,
                    "user_id": event.stream,
                    "type": event.type,
                    **{key: getattr(event, key) for key in ("source", "actor", "token_id", "request_id")},
                }

    def seats_of(self, event: Happened) -> dict[str, int]:
        erasure = self.erased.get(event.stream)
        if erasure is not None:
            known = (erasure.data or {}).get("seats", {}).get(str(event.version), {})
            return {role: change for role, change in known.items() if change}
        data = event.data or {}
        match event.type:
            case "UserProvisioned" if data["active"]:
                return {data["role"]: 1}
            case "RoleAssigned" if data["active"]:
                return {data["from"]: -1, data["to"]: 1}
            case "Deactivated":
                return {data["role"]: -1}
            case "Reactivated":
                return {data["role"]: 1}
            case "UserDeleted" if data["active"]:
                return {data["role"]: -1}
            case _:
                return {}

    def seat_changes(self, given: Given) -> list[Json]:
        seqs = {each.seq for each in self.part(given)}
        return [each for each in self.curve() if each["seq"] in seqs]

    def seats_then(self, given: Given) -> list[Json]:
        seq = self.seq_then(given)
        past = [each for each in self.curve() if each["seq"] <= seq]
        taken = [each for each in past if each["change"] > 0]
        return [
            {
                "as_of_seq": seq,
                "active": past[-1]["active"] if past else 0,
                "by_role": past[-1]["by_role"] if past else {},
                "last_taken": taken[-1] if taken else None,
            }
        ]

    def seat_peaks(self, given: Given) -> list[Json]:
        curve = [(moment(each["recorded_at"]), each["seq"], each["active"]) for each in self.curve()]
        begin = max([-1, *(e.seq for e in self.events if "from" in given and e.at < moment(given["from"]))])
        begin = max(begin, int(given.get("after_seq", 0)))
        bounds = {name: text for name, text in given.items() if name in {"to", "to_seq"}}
        end = max((each.seq for each in self.part(bounds)), default=0)
        if not curve or end < max(begin, 1):
            return []
        first = curve[0][0].date()
        if "from" in given:
            first = max(first, moment(given["from"]).astimezone(UTC).date())
        if "after_seq" in given:
            first = max([first, *(each.at.date() for each in self.events if each.seq == int(given["after_seq"]) + 1)])
        last = datetime.now(UTC).date()
        if "to" in given:
            last = min(last, (moment(given["to"]).astimezone(UTC) - timedelta(microseconds=1)).date())
        elif "to_seq" in given:
            last = min([last, *(each.at.date() for each in self.events if each.seq == int(given["to_seq"]))])
        found: dict[date, Json] = {}
        day, taken = first, 0
        for at, seq, active in curve:
            if seq <= end and (seq <= begin or at.date() < (first.replace(day=1) if by_month(given) else first)):
                taken = active
        if by_month(given):
            day = first.replace(day=1)
        while day <= last:
            key = day.replace(day=1) if by_month(given) else day
            within = [active for at, seq, active in curve if begin < seq <= end and at.date() == day]
            peak = max([taken, *within])
            taken = within[-1] if within else taken
            known = found.setdefault(key, {"first_day": key.isoformat(), "peak": peak, "active": taken})
            known.update(peak=max(known["peak"], peak), active=taken)
            day += timedelta(days=1)
        return list(found.values())

    # Tokens, and many acts.

    def tokens(self, given: Given) -> list[Json]:
        found: dict[str, Json] = {}
        for each in self.events:
            data = each.data or {}
            if each.type == "TokenIssued" and data:
                found[data["token_id"]] = {
                    "id": data["token_id"],
                    "name": data["name"],
                    "scopes": data["scopes"],
                    "user_id": data.get("user_id"),
                    "issued_at": shown_time(each.at),
                    "issued_by": each.actor,
                    "expires_at": data["expires_at"],
                    "revoked_at": None,
                    "revoked_by": None,
                }
            if each.type == "TokenRevoked" and data:
                found[data["token_id"]].update(revoked_at=shown_time(each.at), revoked_by=each.actor)
        now = datetime.now(UTC)
        valid = {key: not each["revoked_at"] and moment(each["expires_at"]) > now for key, each in found.items()}
        return [
            found[key]
            for key in sorted(found, key=lambda each: UUID(each).int)
            if "valid" not in given or valid[key] == (given["valid"] == "true")
        ]

    def bulk_acts(self, given: Given, cut: int = 100_000) -> list[Json]:
        """Windows with enough people in them, those that overlap as one; a part of the log knows the one before it."""
        people, window = int(given.get("people", 50)), timedelta(minutes=int(given.get("minutes", 5)))
        by_actor: defaultdict[tuple[str, str], list[Happened]] = defaultdict(list)
        for each in self.part(given):
            if each.stream != self.tenant_id:
                by_actor[each.source, each.actor].append(each)
        found: list[Json] = []
        for (source, actor), acts in by_actor.items():
            merged: list[list[Any]] = []
            for place, each in enumerate(acts):
                begin = (each.seq - 1) // cut * cut - cut
                within = [act for act in acts[: place + 1] if act.at > each.at - window and act.seq > begin]
                many = len({act.stream for act in within})
                if many <= people:
                    continue
                is_cut = merged and (merged[-1][1].seq - 1) // cut != (each.seq - 1) // cut
                if merged and within[0].seq <= merged[-1][1].seq and not is_cut:
                    merged[-1][1:] = [each, max(merged[-1][2], many)]
                else:
                    merged.append([within[0], each, many])
            found += [
                {
                    "first_seq": first.seq,
                    "last_seq": last.seq,
                    "began_at": shown_time(first.at),
                    "ended_at": shown_time(last.at),
                    "source": source,
                    "actor": actor,
                    "events": len([act for act in acts if first.seq <= act.seq <= last.seq]),
                    "people": many,
                }
                for first, last, many in merged
            ]
        return sorted(found, key=lambda each: int(each["last_seq"]))


def by_month(given: Given) -> bool:
    return given.get("by", "month") == "month"


def next_state(before: Json | None, event: Happened) -> Json:
    data = event.data or {}
    if event.type == "UserProvisioned":
        state: Json = {
            "attributes": dict(data["attributes"]),
            "active": data["active"],
            "role": data["role"],
            "is_deleted": False,
            "deleted_at": None,
            "created_at": event.at,
            "granted": event.seq,
            "sources": dict.fromkeys([*data["attributes"], "active", "role"], event.source),
        }
    else:
        assert before is not None
        state = {**before, "attributes": dict(before["attributes"]), "sources": dict(before["sources"])}
    state |= {"version": event.version, "modified_at": event.at}
    match event.type:
        case "AttributesChanged":
            for key, change in data.get("changes", {}).items():
                state["attributes"].pop(key, None)
                if change["to"] is not None:
                    state["attributes"][key] = change["to"]
                if key != "role":
                    state["sources"][key] = event.source
            state["sources"] |= dict.fromkeys(data.get("confirmed", {}), event.source)
        case "RoleAssigned":
            state["attributes"]["role"], state["role"] = data.get("sent") or data["to"], data["to"]
            state["sources"]["role"], state["granted"] = event.source, event.seq
        case "Deactivated" | "Reactivated":
            state["active"] = event.type == "Reactivated"
            state["sources"]["active"] = event.source
        case "UserDeleted":
            state |= {"active": False, "is_deleted": True, "deleted_at": event.at}
        case _:
            pass
    return state


def before_and_after(event: Happened) -> tuple[Json | None, Json | None]:
    data = event.data
    if data is None:
        return None, None
    match event.type:
        case "UserProvisioned":
            return None, {**data["attributes"], "active": data["active"], "role": data["role"]}
        case "AttributesChanged" | "SettingsChanged":
            changes = data.get("changes", {})
            return {k: v["from"] for k, v in changes.items()}, {k: v["to"] for k, v in changes.items()}
        case "RoleAssigned":
            return {"role": data["from"]}, {"role": data["to"]}
        case "Deactivated" | "Reactivated":
            return {"active": event.type == "Deactivated"}, {"active": event.type == "Reactivated"}
        case "UserDeleted":
            return {"active": data["active"], "role": data["role"]}, None
        case "TenantRegistered":
            return None, {"name": data["name"], **data["settings"]}
        case "TokenIssued":
            return None, {key: data[key] for key in ("name", "scopes", "expires_at")}
        case "TokenRevoked":
            return {"name": data["name"]}, None
        case _:
            return None, None


def by(event: Happened) -> Json:
    return {
        "seq": event.seq,
        "recorded_at": shown_time(event.at),
        **{key: getattr(event, key) for key in ("source", "actor", "token_id", "request_id")},
    }


def tree(leaves: Json) -> Json:
    found: Json = {}
    for key, value in leaves.items():
        path = [ENTERPRISE, key.removeprefix(f"{ENTERPRISE}:")] if key.startswith(ENTERPRISE) else [key]
        *above, last = [*path[:-1], *path[-1].split(".", 1)]
        branch = found
        for each in above:
            branch = branch.setdefault(each, {})
        branch[last] = value
    return found


def arrival(request_id: str) -> datetime | None:
    number = UUID(request_id).int
    if UUID(request_id).version != 7:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number >> 80)
