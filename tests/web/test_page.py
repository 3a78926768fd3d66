"""The page in a real Chromium, as a person uses it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

import handmade
from pixtag.store import Store
from pixtag.types import Post
from pixtag.web import forms
from pixtag.web.guard import Rules
from pixtag.web.service import Service
from web.chromium import NOW, PHONE, chips, is_narrow, leave, photo, upload
from web.page_server import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SAMPLES = Path(__file__).parent.parent.parent / "samples"


def test_first_visit(visit, tmp_path: Path) -> None:
    page = visit()
    assert "pick yourself" in page.locator("h1").inner_text()
    upload(page, photo(tmp_path))
    assert len(chips(page)) == 5
    assert chips(page)[0] in handmade.LOOKS["stripes"]
    first = page.locator(".chip").first
    assert re.search(r"\d%", first.locator(".chance").inner_text())
    assert first.locator(".reason").inner_text()
    shot = page.locator("img.shot")
    expect(shot).to_be_visible()
    assert shot.get_attribute("src").startswith("blob:")
    assert page.evaluate("document.querySelector('img.shot').naturalWidth") == 256


def test_several_photos_by_choice_drop_and_paste(visit, tmp_path: Path) -> None:
    page = visit()
    upload(page, photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg", "leaves"))
    data = list(photo(tmp_path, "c.jpg", "sky").read_bytes())
    for kind, target in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        n = page.locator("article.card").count()
        page.evaluate(
            """([bytes, kind, target]) => {
                const held = new DataTransfer();
                const file = new File([new Uint8Array(bytes)], `${kind}.jpg`, {type: "image/jpeg"});
                held.items.add(file);
                const event = kind === "drop"
                    ? new DragEvent(kind, {bubbles: true, cancelable: true, [target]: held})
                    : new ClipboardEvent(kind, {bubbles: true, cancelable: true, [target]: held});
                document.body.dispatchEvent(event);
            }""",
            [data, kind, target],
        )
        expect(page.locator("article.card")).to_have_count(n + 1)
    names = page.locator("figcaption h2").all_inner_texts()
    assert names == ["a.jpg", "b.jpg", "drop.jpg", "paste.jpg"]
    second = page.locator("article.card").nth(1)
    assert second.locator(".chip .tag").first.inner_text()[1:] in handmade.LOOKS["leaves"]
    second.get_by_role("button", name="Remove the photo b.jpg").click()
    expect(page.locator("article.card")).to_have_count(3)


def test_taking_and_refusing_keep_the_focus(visit, tmp_path: Path) -> None:
    page = visit()
    upload(page, photo(tmp_path))
    before = chips(page)
    page.locator(".take").nth(1).focus()
    page.keyboard.press("Enter")
    taken = page.locator(".chip").nth(1)
    expect(taken).to_have_class(re.compile("taken"))
    expect(taken.locator(".take")).to_be_focused()
    assert taken.locator(".take").get_attribute("aria-pressed") == "true"
    assert chips(page)[1] == before[1]
    assert len(chips(page)) == 6
    refused = chips(page)[0]
    page.get_by_role("button", name=f"Refuse #{refused}", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".refused")).to_contain_text(refused)
    assert refused not in chips(page)
    assert page.evaluate("document.activeElement.dataset.focus").endswith("0 refuse")
    expect(page.locator("#status")).to_contain_text(f"#{refused} refused")
    page.locator(".refused button").click()
    expect(page.locator(".refused")).to_have_count(0)
    page.locator(".chip.taken .take").click()
    expect(page.locator(".chip.taken")).to_have_count(0)


def test_what_goes_away_gives_the_focus_on(visit, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Posting as").fill("zoe")
    upload(page, photo(tmp_path))
    page.get_by_role("button", name="Refuse").first.press("Enter")
    page.locator(".refused button").press("Enter")
    expect(page.locator(".refused")).to_have_count(0)
    expect(page.locator(".take").first).to_be_focused()
    page.get_by_role("button", name="Why #zebra?").click()
    page.locator(".beside button").first.press("Enter")
    expect(page.locator(".chip.taken")).to_have_count(1)
    expect(page.locator(".take").first).to_be_focused()


def test_what_is_chosen_outlives_the_signed_embedding(
    visit, service: Service, tmp_path: Path, monkeypatch
) -> None:
    page = visit()
    page.get_by_label("Posting as").fill("ines")
    upload(page, photo(tmp_path), photo(tmp_path, "leaves.jpg", "leaves"))
    first, second = page.locator("article.card").all()
    first.locator(".take").nth(1).click()
    expect(first.locator(".chip.taken")).to_have_count(1)
    before = chips(page)
    monkeypatch.setattr(forms, "LIFE_S", -1.0)  # any token is too old from now on
    first.get_by_role("combobox", name="Caption").fill("at the #zoo")
    expect(first.locator(".count")).to_have_text("2 hashtags chosen")
    assert chips(page)[1] == before[1]
    second.locator(".take").first.click()
    expect(second.locator(".chip.taken")).to_have_count(1)
    page.locator("select[name=platform]").select_option("instagram")  # asks about all of them
    expect(first.locator(".count")).to_have_text("2 of 5 for Instagram")
    expect(second.locator(".count")).to_have_text("1 of 5 for Instagram")
    assert page.locator(".wrong").count() == 0
    first.get_by_role("button", name="I posted this").click()
    expect(first.locator(".posted")).to_be_visible()
    (post,) = service.store.posts(user_id="ines")
    assert post.tags == (before[1], "zoo")
    assert service.store.log(handmade.encoder().digest, [post.post_id]).has_photo.all()


def test_leaving_asks_while_something_is_chosen_and_not_posted(visit, tmp_path: Path) -> None:
    page, asked = visit(), []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.get_by_label("Posting as").fill("lia")
    upload(page, photo(tmp_path))
    page.get_by_role("link", name="Rising").click()
    page.wait_for_url("**/rising")
    assert asked == []
    page.goto("/")
    upload(page, photo(tmp_path))
    page.locator(".take").first.click()
    expect(page.locator(".chip.taken")).to_have_count(1)
    page.get_by_role("link", name="Rising").click()
    page.wait_for_url("**/rising")
    assert asked == ["beforeunload"]
    page.goto("/")
    upload(page, photo(tmp_path))
    page.locator(".take").first.click()
    page.get_by_role("button", name="I posted this").click()
    expect(page.locator(".posted")).to_be_visible()
    page.get_by_role("link", name="Rising").click()
    page.wait_for_url("**/rising")
    assert asked == ["beforeunload"]


def test_a_server_that_is_away_is_told_where_it_was_asked(
    visit, browser: Browser, address: str, tmp_path: Path
) -> None:
    context = browser.new_context(base_url=address, locale="de")  # whose console is not silent
    page = context.new_page()
    page.goto("/")
    upload(page, photo(tmp_path))
    page.route("**/*", lambda route: route.abort())
    page.locator(".take").first.click()
    line = page.locator("article.card .part > .wrong")
    expect(line).to_have_text("Der Dienst antwortet nicht. Läuft er?")
    page.locator(".take").first.click()
    expect(line).to_have_count(1)
    page.locator("input[type=file][multiple]").set_input_files(photo(tmp_path, "b.jpg"))
    expect(page.locator("#cards > .wrong")).to_be_visible()
    page.unroute("**/*")
    page.locator(".take").first.click()
    expect(page.locator(".chip.taken")).to_have_count(1)
    expect(line).to_have_count(0)
    page.goto("/import")
    page.route("**/*", lambda route: route.abort())
    file = tmp_path / "posts.jsonl"
    file.write_text("{}")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Importieren").click()
    expect(page.locator("form .wrong")).to_contain_text("Das Hochladen brach ab.")
    context.close()


def test_the_counter_and_what_is_copied(visit, tmp_path: Path) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.locator("select[name=platform]").select_option("instagram")
    upload(page, photo(tmp_path))
    expect(page.locator(".count")).to_have_text("0 of 5 for Instagram")
    tag = chips(page)[0]
    page.locator(".take").first.click()
    expect(page.locator(".count")).to_have_text("1 of 5 for Instagram")
    for what, text in (("Hashtags", f"#{tag}"), ("For screen readers", f"#{tag.capitalize()}")):
        page.get_by_role("button", name=f"Copy: {what}").click()
        expect(page.locator("#status")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == text
    alt = page.get_by_role("textbox", name="Alt text to start from")
    assert alt.input_value() == "Photo of ..."  # a model without labels is sure of nothing


def test_the_caption_completes_and_counts_hashtags(visit, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Posting as").fill("zoe")
    upload(page, photo(tmp_path))
    box = page.get_by_role("combobox", name="Caption")
    box.press_sequentially("hello #su")
    expect(page.locator(".offers li")).to_have_text(re.compile("^#sunrise4"))
    assert box.get_attribute("aria-expanded") == "true"
    box.press("ArrowDown")
    assert page.locator(".offers li").first.get_attribute("aria-selected") == "true"
    box.press("Enter")
    assert box.input_value() == "hello #sunrise "
    expect(box).to_be_focused()
    expect(page.locator(".count")).to_have_text("1 hashtag chosen")
    expect(page.get_by_label("Hashtags", exact=False).first).to_be_visible()
    box.press_sequentially("#sa")
    expect(page.locator(".offers li")).to_have_count(1)
    box.press("Escape")
    expect(page.locator(".offers li")).to_have_count(0)


def test_publishing_teaches_the_next_answer(visit, service: Service, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Posting as").fill("ida")
    upload(page, photo(tmp_path))
    box = page.get_by_role("combobox", name="Caption")
    box.fill("look #idasown")
    expect(page.locator(".count")).to_have_text("1 hashtag chosen")
    page.get_by_role("button", name="I posted this").click()
    expect(page.locator(".posted")).to_contain_text("ida")
    (post,) = service.store.posts(user_id="ida")
    assert post.tags == ("idasown",)
    upload(page, photo(tmp_path, "again.jpg", seed=1))
    own = page.locator(".chip", has_text="#idasown")
    expect(own.locator(".reason")).to_have_text(re.compile("photo of yours like this|just now"))
    own.get_by_role("button", name="Why #idasown?").click()
    expect(page.locator(".alike li")).to_have_count(1)
    page.goto("/mine")
    expect(page.locator("table.tags")).to_contain_text("#idasown")


def test_why_a_tag_is_suggested(visit, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Posting as").fill("zoe")
    upload(page, photo(tmp_path))
    page.get_by_role("button", name="Why #zebra?").click()
    why = page.locator(".why")
    expect(why).to_contain_text("you used it")
    assert why.locator("th").all_inner_texts() == ["Pixels", "History", "Trend", "General"]
    expect(why).to_contain_text("Goes with")
    with page.context.expect_page() as opened:
        why.get_by_role("link", name="#zebra over time").click()
    other = opened.value  # so that the chosen photos stay
    expect(other.locator("h1")).to_have_text("#zebra")
    expect(other.get_by_role("img", name="Uses over time")).to_be_visible()
    expect(why).to_be_visible()


def test_import_with_progress(visit, service: Service, tmp_path: Path) -> None:
    lines = [{"post_id": f"m{i}", "user_id": "max", "tags": ["surf"]} for i in range(2000)]
    file = tmp_path / "posts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = visit("/import")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.wait_for_url(re.compile(r"/import/\S+"))
    expect(page.locator("#job-line")).to_contain_text("Done: 2,000 posts read")
    assert "max" in service.store.people(at_most=99)


def test_an_archive_that_is_too_large_is_told(browser: Browser, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "my.sqlite", create=True)
    rules = Rules(body_limits={"/import": 100})
    with store, serving(Service(store, handmade.bundle()), rules) as address:
        context = browser.new_context(base_url=address)
        page = context.new_page()
        page.goto("/import")
        file = tmp_path / "posts.jsonl"
        file.write_text('{"tags": ["sun"]}\n' * 20)
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_role("button", name="Import").click()
        expect(page.locator("main")).to_contain_text("That is too much at once.")
        context.close()


def test_an_import_can_be_stopped(visit, service: Service, tmp_path: Path) -> None:
    lines = (
        json.dumps({"post_id": f"stop{i}", "user_id": "sam", "tags": [f"tag{i}"]})
        for i in range(60_000)
    )
    file = tmp_path / "posts.jsonl"
    file.write_text("\n".join(lines))
    page = visit("/import")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#job-line")).to_contain_text("Stopped.")
    assert len(list(service.store.posts(user_id="sam"))) < 60_000


def test_forget(visit, service: Service) -> None:
    service.store.add_posts([Post("old", "olga", NOW, ("sun",))])
    page = visit("/mine")
    page.get_by_label("Posting as").fill("olga")
    page.get_by_role("button", name="OK").click()
    page.get_by_text("Forget me").click()
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Forget olga").click()
    expect(page.locator("h1")).to_have_text("Forgotten")
    assert list(service.store.posts(user_id="olga")) == []


def test_without_scripts(visit, service: Service, tmp_path: Path) -> None:
    page = visit(java_script_enabled=False)
    page.get_by_label("Posting as").fill("nia")
    page.locator("input[type=file][multiple]").set_input_files(
        [photo(tmp_path), photo(tmp_path, "b.jpg", "sky")]
    )
    page.get_by_role("button", name="Show hashtags").click()
    expect(page.locator("article.card")).to_have_count(2)
    tag = chips(page)[0]
    page.locator(".take").first.click()
    expect(page.locator("article.card")).to_have_count(2)
    expect(page.locator(".chip.taken")).to_have_count(1)
    assert page.locator("dd textarea").first.input_value() == f"#{tag}"
    page.locator("textarea[name$=caption]").first.fill("with #friends")
    page.get_by_role("button", name="Count the caption's hashtags").first.click()
    assert page.locator("dd textarea").first.input_value() == f"#{tag} #friends"
    assert is_narrow(page)
    page.get_by_role("button", name="I posted this").first.click()
    expect(page.locator(".posted")).to_be_visible()
    assert [post.tags for post in service.store.posts(user_id="nia")] == [(tag, "friends")]


def test_another_language(visit) -> None:
    page = visit(locale="pt-BR")
    assert "hashtags que você" in page.locator("h1").inner_text()
    page.get_by_label("Idioma").select_option("id")
    expect(page.locator("html")).to_have_attribute("lang", "id")


def test_hostile_words_stay_in_their_places(visit, service: Service, tmp_path: Path) -> None:
    person, tag = "\u202e<script>alert(1)</script>" + "w" * 150, "w" * 100
    service.store.add_posts([Post(f"w{i}", person, NOW, (tag, "\u0645\u0631")) for i in range(3)])
    page = visit(**PHONE)
    page.on("dialog", leave)
    page.get_by_label("Posting as").fill(person)
    upload(page, photo(tmp_path, f"<img src=x onerror=alert(1)>{'w' * 150}.jpg"))
    page.get_by_role("button", name="Why #ww").click()
    expect(page.locator(".why")).to_be_visible()
    page.locator(".chip.open .take").click()
    expect(page.locator(".chip.taken")).to_have_count(1)
    page.get_by_role("combobox", name="Caption").fill("#" + "v" * 90)
    expect(page.locator(".count")).to_contain_text("2")
    for name in ("photos", "mine", f"tag/{tag}", "import"):
        if name != "photos":
            page.goto(f"/{name}")
        page.screenshot(path=tmp_path / f"{name[:20].replace('/', '-')}.png", full_page=True)
        assert is_narrow(page), name[:20]


def test_the_shipped_model_on_a_real_photo(browser: Browser, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "my.sqlite", create=True)
    with store, serving(Service(store)) as address:
        context = browser.new_context(base_url=address)
        page = context.new_page()
        page.goto("/")
        upload(page, SAMPLES / "coffee.jpg")
        assert "coffee" in chips(page)
        expect(page.locator(".chip .reason").first).to_have_text("in the picture")
        page.screenshot(path=tmp_path / "coffee.png", full_page=True)
        # Things, not themes and countries (travel, japan), and nothing where it is not sure.
        shown = {"mountains": "Photo with mountains", "china": "Photo with temple"}
        for name, said in (shown | {"astronaut": "Photo of ..."}).items():
            upload(page, SAMPLES / f"{name}.jpg")
            alt = page.get_by_role("textbox", name=f"Alt text to start from {name}.jpg")
            assert alt.input_value() == said
        context.close()
