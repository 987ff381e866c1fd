"""Classes must not keep using what a rewrite took from them."""

import ast

import pytest

from synthesis.dangling import dangling_reference


def use(before: str, after: str, rest: str = "") -> str:
    (old,) = ast.parse(before).body
    module = ast.parse(after + rest)
    return dangling_reference(module, old, module.body[0])


BEFORE = "class A:\n    def f(self):\n        return 1\n    def g(self):\n        return {}\n"
AFTER = "class A:\n    def g(self):\n        return {}\n"


@pytest.mark.parametrize(
    "expression",
    [
        "self.f()",
        "[self.f, 1]",
        "A.f(self)",
        "type(self).f(self)",
        "self.__class__.f(self)",
        "[x.f() for x in [self.f]]",
    ],
)
def test_a_use_of_a_removed_method_in_its_class_is_dangling(expression):
    assert "f was removed from A" in use(BEFORE.format(expression), AFTER.format(expression))


def test_a_method_that_nothing_uses_can_be_removed():
    assert use(BEFORE.format(2), AFTER.format(2)) == ""


def test_a_use_through_another_object_is_left_for_tests_to_find():
    assert use(BEFORE.format("other.f()"), AFTER.format("other.f()")) == ""


def test_the_first_argument_may_have_any_name():
    before = "class A:\n    def f(self): pass\n    def g(this): return this.f()\n"
    assert use(before, "class A:\n    def g(this): return this.f()\n")


def test_a_use_in_a_class_of_the_file_that_derives_is_dangling():
    heir = "class B(A):\n    def h(self): return super().f()\n"
    assert use(BEFORE.format(2), AFTER.format(2), heir)


def test_a_use_of_the_class_elsewhere_in_the_file_is_dangling():
    assert use(BEFORE.format(2), AFTER.format(2), "alias = A.f\n")


def test_an_heir_with_its_own_method_is_no_use():
    heir = "class B(A):\n    def f(self): return 3\n    def h(self): return self.f()\n"
    assert use(BEFORE.format(2), AFTER.format(2), heir) == ""


def test_a_built_in_base_can_stand_in_for_a_removed_override():
    before = "class A(dict):\n    def get(self, k): pass\n    def g(self): return self.get(1)\n"
    assert use(before, "class A(dict):\n    def g(self): return self.get(1)\n") == ""


def test_another_definition_of_the_name_can_stand_in():
    before = "class A:\n    @property\n    def f(self): pass\n    @f.setter\n    def f(self, v): pass\n    def g(self): self.f\n"
    assert use(before, "class A:\n    @property\n    def f(self): pass\n    def g(self): self.f\n") == ""


def test_a_setter_without_its_property_is_dangling():
    before = "class A:\n    @property\n    def f(self): pass\n    @f.setter\n    def f(self, v): pass\n"
    assert "before it is defined" in use(before, "class A:\n    @f.setter\n    def f(self, v): pass\n")


def test_an_alias_above_its_method_is_dangling():
    before = "class A:\n    def f(self): pass\n    h = f\n"
    assert "before it is defined" in use(before, "class A:\n    h = f\n    def f(self): pass\n")


def test_a_name_that_the_module_has_too_is_a_bug_and_not_dangling():
    before = "class A:\n    def len(self): pass\n    h = len\n"
    assert use(before, "class A:\n    h = len\n    def len(self): pass\n") == ""


def test_methods_in_another_order_are_fine():
    assert (
        use(
            "class A:\n    def f(self): self.g()\n    def g(self): pass\n",
            "class A:\n    def g(self): pass\n    def f(self): self.g()\n",
        )
        == ""
    )


@pytest.mark.parametrize("rest", ["x = A(1)\n", "x = A[int]\n", "A.register(int)\n", "class C:\n    y = A(1)\n"])
def test_what_only_the_lost_base_could_do_at_import_is_dangling(rest):
    assert "lost its base" in use("class A(Base):\n    pass\n", "class A():\n    pass\n", rest)


def test_keywords_for_a_lost_base_are_dangling():
    assert use("class A(Base, frozen=True):\n    pass\n", "class A(frozen=True):\n    pass\n")


@pytest.mark.parametrize("rest", ["x = A()\n", "def g(): return A(1)\n", "print(A.__name__)\n"])
def test_a_lost_base_that_the_import_does_not_need_is_a_bug(rest):
    assert use("class A(Base):\n    pass\n", "class A():\n    pass\n", rest) == ""
