"""What a context may say."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_rls import InvalidContext, TenantContext, tenant_transaction


@given(
    st.integers() | st.uuids() | st.text(alphabet="abcXYZ019-_./' ", min_size=1).map("c".__add__)
)
def test_an_id_is_passed_on_as_it_is(customer_id: int | UUID | str) -> None:
    if len(str(customer_id)) > 128:
        return
    assert TenantContext(customer_id).settings == (str(customer_id), "customer")


@pytest.mark.parametrize("wrong", ["", "  ", "a\0b", "a\nb", "x" * 129, True, 1.5, b"1", ["1"]])
def test_what_is_no_id_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidContext):
        TenantContext(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", "admin", "Administrator", "customer ", None, 1])
def test_no_other_role_is_known(wrong: object) -> None:
    with pytest.raises(InvalidContext):
        TenantContext(1, wrong)  # type: ignore[arg-type]


def test_a_customer_needs_an_id_and_an_administrator_does_not() -> None:
    with pytest.raises(InvalidContext, match="needs customer_id"):
        TenantContext()
    assert TenantContext(user_role="administrator").settings == ("", "administrator")


def test_a_context_does_not_change() -> None:
    with pytest.raises(AttributeError):
        TenantContext(1).customer_id = 2  # type: ignore[misc]


def test_only_connections_have_transactions() -> None:
    with pytest.raises(TypeError, match="must be a TenantContext"):
        tenant_transaction(None, uuid4())  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"not a builtins\.object"):
        tenant_transaction(object(), TenantContext(1))  # type: ignore[call-overload]
