"""Pictures of every page of the console, light, dark and on a phone: `make screenshots` writes them."""

from pathlib import Path

from playwright.async_api import Page

from ops.database import Database
from tests.browsers import DESK, PHONE, chromium, serving
from tests.showcase import PAGES, Showcase, fill

FOLDER = Path(__file__).parents[1] / "screenshots"
PEOPLE = 180
LOOKS = {
    "light": ("light", DESK),
    "dark": ("dark", DESK),
    "phone": ("light", PHONE),
    "small": ("light", {"width": 1000, "height": 640}),  # two of these are in the README
}


async def test_pictures_of_every_page(database: Database) -> None:
    """Not collected with the others: the make target names this file."""
    FOLDER.mkdir(exist_ok=True)
    async with serving(database) as served, chromium() as browser:
        showcase = await fill(database, served, PEOPLE)
        for look, (scheme, size) in LOOKS.items():
            context = await browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            await _take_all(await context.new_page(), served.url, showcase, look)
            await context.close()


async def _take_all(page: Page, url: str, showcase: Showcase, look: str) -> None:
    await page.goto(f"{url}/console/sign-in")
    await page.screenshot(path=FOLDER / f"sign-in-{look}.png")
    await page.get_by_label("Token").fill(showcase.token)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(lambda address: "sign-in" not in address)
    for name in PAGES:
        await page.goto(url + showcase.address(name))
        await page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=name not in {"people", "seats"})
