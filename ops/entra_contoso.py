"""Contoso, a company of any size: believable people in many scripts, with titles, offices, roles and managers."""

# ruff: noqa: RUF001 -- Greek and Cyrillic letters that look like Latin ones are what some people's names are made of

from collections import Counter
from random import Random
from uuid import UUID

from ops.directory import ADMIN, MEMBER, OWNER, AppRole, Directory, Person

DOMAIN = "contoso.example"
_SPAN = 8  # how many people report to one

# A name as its bearer writes it, and as it stands in an address.
_NAMES = {
    "en-GB": (
        [("Ada", "ada"), ("Siobhán", "siobhan"), ("Mary Jane", "maryjane"), ("Oliver", "oliver"), ("Priya", "priya")],
        [("O'Brien", "obrien"), ("O’Connor", "oconnor"), ("Smith-Jones", "smith-jones"), ("Lovelace", "lovelace")],
    ),
    "fr-FR": (
        [("Jean-Luc", "jean-luc"), ("Zoë", "zoe"), ("François", "francois"), ("Hélène", "helene"), ("Anaïs", "anais")],
        [("d'Artois", "dartois"), ("Lefèvre", "lefevre"), ("Moreau", "moreau"), ("Saint-Exupéry", "saint-exupery")],
    ),
    "de-DE": (
        [("Jürgen", "juergen"), ("Anna-Lena", "anna-lena"), ("Käthe", "kaethe"), ("Björn", "bjoern"), ("Uwe", "uwe")],
        [("Müller", "mueller"), ("von Groß", "vongross"), ("Schröder", "schroeder"), ("Weiß", "weiss")],
    ),
    "pl-PL": (
        [("Łukasz", "lukasz"), ("Małgorzata", "malgorzata"), ("Paweł", "pawel"), ("Zofia", "zofia")],
        [("Wiśniewska", "wisniewska"), ("Żak", "zak"), ("Dąbrowski", "dabrowski"), ("Nowak", "nowak")],
    ),
    "tr-TR": (
        [("İpek", "ipek"), ("Çağla", "cagla"), ("Oğuz", "oguz"), ("Işıl", "isil")],
        [("Yılmaz", "yilmaz"), ("Şahin", "sahin"), ("Öztürk", "ozturk"), ("Güneş", "gunes")],
    ),
    "el-GR": (
        [("Ελένη", "eleni"), ("Γιώργος", "giorgos"), ("Δήμητρα", "dimitra"), ("Νίκος", "nikos")],
        [("Παπαδοπούλου", "papadopoulou"), ("Οικονόμου", "oikonomou"), ("Γεωργίου", "georgiou")],
    ),
    "uk-UA": (
        [("Олена", "olena"), ("Тарас", "taras"), ("Наталія", "nataliia"), ("Богдан", "bohdan")],
        [("Шевченко", "shevchenko"), ("Коваленко", "kovalenko"), ("Мельник", "melnyk")],
    ),
    "ar-EG": (
        [("فاطمة", "fatma"), ("أحمد", "ahmed"), ("ليلى", "laila"), ("يوسف", "youssef")],
        [("السيد", "elsayed"), ("حسن", "hassan"), ("إبراهيم", "ibrahim")],
    ),
    "hi-IN": (
        [("आरती", "aarti"), ("विक्रम", "vikram"), ("दीप्ति", "deepti"), ("राहुल", "rahul")],
        [("शर्मा", "sharma"), ("मिश्रा", "mishra"), ("चौधरी", "chaudhary")],
    ),
    "ja-JP": (
        [("さくら", "sakura"), ("健太", "kenta"), ("美咲", "misaki"), ("ジョン", "john")],
        [("佐藤", "sato"), ("鈴木", "suzuki"), ("高橋", "takahashi")],
    ),
    "ko-KR": (
        [("지우", "jiwoo"), ("민준", "minjun"), ("서연", "seoyeon")],
        [("김", "kim"), ("이", "lee"), ("박", "park")],
    ),
}
_TITLES = {
    "Engineering": ("Software Engineer", "Site Reliability Engineer", "Test Engineer", "Engineering Manager"),
    "Sales": ("Account Executive", "Sales Development Representative", "Head of Sales, EMEA"),
    "Finance": ("Accountant", "Payroll Specialist", "Controller"),
    "People": ("Recruiter", "HR Business Partner"),
    "Customer Success": ("Support Agent", "Customer Success Manager", "Solutions Architect"),
    "Legal": ("Counsel", "Data Protection Officer"),
}
_OFFICES = (
    ("18/2111", "1 Harbour Street", "Dublin", "Leinster", "D02 XY45", "Ireland", "+353 1 555 01"),
    ("B/204", "Rosenweg 12", "Zürich", "ZH", "8001", "Switzerland", "+41 44 555 01"),
    ("3F", "2-1 Sakura-dōri", "Nagoya", "Aichi", "450-0002", "Japan", "+81 52 555 01"),
    ("North Wing", "500 Lake Avenue", "Seattle", "WA", "98101", "United States", "+1 206 555 01"),
)


def contoso(count: int, rng: Random) -> Directory:
    """A directory of that many people, all assigned to the app: one owner, some admins, members, and some no role.

    Addresses are lower case and unique. The first person is at the top of the tree of managers.
    """
    directory, taken = Directory(), Counter[str]()
    object_ids: list[str] = []
    for number in range(count):
        manager = object_ids[(number - 1) // _SPAN] if number else None
        person = directory.add(_person(number, manager, taken, rng))
        directory.assign(person.object_id, _role(number, rng))
        object_ids.append(person.object_id)
    return directory


def _person(number: int, manager: str | None, taken: Counter[str], rng: Random) -> Person:
    language = rng.choice(list(_NAMES))
    (given, given_ascii), (surname, surname_ascii) = (rng.choice(names) for names in _NAMES[language])
    nickname = _free(f"{given_ascii}.{surname_ascii}", taken)
    department = rng.choice(list(_TITLES))
    office, street, city, state, postal_code, country, exchange = rng.choice(_OFFICES)
    return Person(
        object_id=str(UUID(int=rng.getrandbits(128), version=4)),
        user_principal_name=f"{nickname}@{DOMAIN}",
        display_name=f"{given} {surname}",
        given_name=given,
        surname=surname,
        job_title=rng.choice(_TITLES[department]) if number else "Chief Executive Officer",
        mail=f"{nickname}@{DOMAIN}",
        mail_nickname=nickname,
        department=department,
        employee_id=f"{10_000 + number}",
        preferred_language=language,
        physical_delivery_office_name=office,
        street_address=street,
        city=city,
        state=state,
        postal_code=postal_code,
        country=country,
        telephone_number=f"{exchange}{rng.randrange(100):02}",
        manager=manager,
    )


def _free(nickname: str, taken: Counter[str]) -> str:
    """Namesakes are numbered: ada.smith, ada.smith2."""
    taken[nickname] += 1
    return nickname if taken[nickname] == 1 else f"{nickname}{taken[nickname]}"


def _role(number: int, rng: Random) -> AppRole | None:
    if number == 0:
        return OWNER
    return rng.choices((ADMIN, MEMBER, None), weights=(1, 17, 2))[0]
