"""The words that the guards compare. All are English and in lower case."""

_NEGATIONS = "not no never without cannot none nothing neither nor unable isnt dont cant wont"

# Words that make no difference to the order of the others, and are no names.
_CONNECTIVES = """
    a an the is are was were be been being am do does did have has had i me my we our you your
    he she it they them his her its their this that these those of to in on at for with by from
    as and or but if so than then what which who whom how why when where can could should would
    will shall may might must there s t please want need get
"""

_TO_TWENTY = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty
"""
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_MONTHS = "january february april june july august september october november december"

# Each says the contrary of the other, or excludes it.
_OPPOSITES = """
    increase/decrease more/less before/after start/stop begin/end buy/sell enable/disable
    add/remove open/close open/closed on/off in/out up/down left/right win/lose love/hate
    good/bad best/worst better/worse high/low higher/lower big/small large/small long/short
    fast/slow hot/cold old/new young/old rich/poor safe/unsafe safe/dangerous legal/illegal
    possible/impossible like/dislike accept/reject allow/block allow/deny allowed/forbidden
    install/uninstall import/export upload/download send/receive lend/borrow give/take push/pull
    encrypt/decrypt lock/unlock subscribe/unsubscribe follow/unfollow happy/sad hard/easy
    difficult/easy strong/weak early/late cheap/expensive light/heavy light/dark
    positive/negative advantages/disadvantages advantage/disadvantage pros/cons male/female
    man/woman men/women boy/girl boys/girls he/she his/her him/her husband/wife mother/father
    son/daughter brother/sister first/last minimum/maximum min/max include/exclude
    inside/outside internal/external public/private true/false yes/no everything/nothing
    always/never all/none gain/lose create/delete activate/deactivate cancel/renew
    deposit/withdraw refund/charge debit/credit incoming/outgoing arrive/depart
    arrival/departure north/south east/west sync/async same/different simple/complex
    domestic/international personal/business monthly/yearly monthly/annual buyer/seller
    upgrade/downgrade freeze/unfreeze sent/received pass/fail passed/failed visible/hidden
    visible/invisible patient/impatient optimistic/pessimistic religious/secular am/pm
    over/under within/after within/outside weekday/weekend weekdays/weekends full/part
    fulltime/parttime included/excluded including/excluding avoid/take from/into to/from and/or
    virtual/physical mine/yours temporary/permanent single/joint single/multiple free/paid
    pre/post manual/automatic indoor/outdoor solution/problem
"""

NEGATIONS = frozenset(_NEGATIONS.split())
CONNECTIVES = frozenset(_CONNECTIVES.split())
OPPOSITES = tuple(
    (one, other) for one, _, other in (pair.partition("/") for pair in _OPPOSITES.split())
)

# Negate a word that they precede.
NEGATIVE_PREFIXES = ("non", "un", "in", "im", "ir", "il", "dis", "mis", "de")

# What counts as a number, by word: "one" ("this one"), "second", "march" and "may" do not.
NUMBERS = {
    **{word: str(value) for value, word in enumerate(_TO_TWENTY.split()) if word != "one"},
    **{word: word[:3] for word in [*_DAYS.split(), *_MONTHS.split()]},
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "first": "1",
    "third": "3",
    "fourth": "4",
    "fifth": "5",
    "half": "0.5",
    "double": "x2",
    "twice": "x2",
}
