"""Values that nobody expects, with the names that everybody looks for."""

from typing import Any

from hypothesis import strategies as st

NAMES = """command cmd commands script file_path path content input patch edits edit old_string new_string type diff
    name function parameters tools functionDeclarations text role thinking reasoning effort metadata user_id client_metadata
    generationConfig thinkingConfig model stream temperature max_tokens message error usage""".split()
PLAIN: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 10**30, 1.5, "", "x", "\ud83d", "<system-reminder>", "*** Begin Patch\n*** Add File: a", '{"a":', "<env>"]
    ),
    st.text(max_size=20),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)),
    max_leaves=12,
)
