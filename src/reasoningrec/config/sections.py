"""The sections of a configuration: each stage has its own small one and is handed only that.

`protocol` and `seed` stand at the top because several stages obey them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

NANO: Final = "nano"
"""The student that is made from scratch."""
Protocol = Literal["honest", "strict", "paper"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrOff = Annotated[int, Field(ge=0)]
Gate = Literal[
    "form", "length", "stance", "citations", "repeats", "support", "titles", "history", "numbers", "claims", "leak"
]
Part = Literal["attributes", "descriptions", "profiles", "evidence", "rationales", "fusion"]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Section(BaseModel):
    """Frozen, no unknown keys, and no silent conversion between types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Columns(Section):
    """Which column of the user's own tables holds what; used by `source = "tables"` only."""

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    """"" = there is none: every row counts as a like."""
    time: str = ""
    """Unix seconds, an ISO date or date-time; "" = there is none, and time is unknown."""
    review: str = ""
    summary: str = ""
    item_id: str = "item"
    """In the items table."""
    title: str = "title"
    brand: str = ""
    price: str = ""
    categories: str = ""
    """A list, or text parted by "|"."""
    details: str = ""


class DataConfig(Section):
    """Where the data are and by which rules they are read."""

    source: Literal["movielens", "amazon", "tables", "release", "demo"]
    path: str = ""
    """A folder or file; `${NAME}` is taken from the environment. A relative path starts at the config file's folder."""
    items: str = ""
    """`amazon`: metadata file; `tables`: items table. "" = none: titles fall back to the item's id (and style)."""
    like_above: float = 3.0
    """Like = rating above this."""
    scale: tuple[float, float] = (1.0, 5.0)
    """Ratings outside are bad rows. `release` windows and tables without ratings ignore it."""
    repeats: Literal["keep", "first"] = "keep"
    """A (user, item) seen again: "keep" each row's own rating, or give each the "first" one (the paper's way)."""
    on_bad_rows: Literal["stop", "skip"] = "stop"
    given_texts: bool = False
    """`release`: read the authors' LLM-written descriptions and profiles. Needs protocol = "paper": they leak."""
    columns: Columns = Columns()
    seed: Seed = 7
    """`demo` only: seed of the made shop."""
    users: Annotated[int, Field(ge=60, le=20000)] = 400
    """`demo` only."""


class SplitConfig(Section):
    """Which interactions are asked about, and how much of the past a prompt shows."""

    history: Annotated[int, Field(ge=1, le=100)] = 10
    """k: reactions before the target (paper: Fashion 4, Beauty 5, MovieLens 20)."""
    tests_per_user: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    train_windows: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    """Train targets per user, latest first; 0 = every earlier row that has a past. The paper uses 1."""


class EvidenceConfig(Section):
    """How counts become facts."""

    smoothing: Annotated[float, Field(gt=0)] = 5.0
    """Pseudo-reactions with which a share is drawn towards its base rate."""
    neighbours: bool = True
    """Whether to count what those who liked [Hj] did with the target."""
    past_rows: CountOrOff = 30_000
    """Further train targets that the fused decision and the regressions learn from, though the student does not: as
    many of each user's earlier rows, latest first, as make at most so many in all; 0 = none."""


class ModelConfig(Section):
    """A language model that writes or judges: on a server, or a folder on this machine; neither = the offline writer.

    What may change an answer is part of the fingerprint of the stages it writes; what only changes how it is asked for
    (concurrency, patience, limits) is not.
    """

    endpoint: str = ""
    """Base URL of an OpenAI-compatible server, as "http://127.0.0.1:8000/v1"; "" = none."""
    model: str = ""
    """The model's name on the server; without `endpoint`, a folder or hub id that transformers can load."""
    key_env: str = ""
    """Name of the environment variable that holds the server's key; "" = the server needs none."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=131072)] = 512
    """Tokens an answer may have; a model that thinks first needs room for that too."""
    answer_form: Literal["auto", "schema", "lines"] = "auto"
    """How answers are to look: by JSON schema, in labelled lines, or "auto": by schema where the server has it."""
    leave_out: tuple[Literal["temperature", "top_p", "seed", "max_tokens"], ...] = ()
    """Fields of the request that the server refuses."""
    extra: dict[str, Any] = {}
    """Further fields of the request, sent as they are: `reasoning_effort`, `max_completion_tokens`, ..."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 16
    """Requests in flight at most; fewer while the server says that it is too many."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """For one try."""
    retries: CountOrOff = 6
    """Further tries after a failure that may pass: too many requests, errors of the server, broken connections."""
    backoff_seconds: Annotated[float, Field(ge=0)] = 0.5
    """Longest pause before the first further try; doubles with each, up to a minute."""
    requests_per_minute: CountOrOff = 0
    """0 = no limit."""
    tokens_per_minute: CountOrOff = 0
    """Of prompts and answers together; 0 = no limit."""
    tokenizer: str = ""
    """Folder or file of the model's tokenizer (tokenizer.json), to count with; "" = counts are estimates."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """Local models: prompts answered at once."""

    @property
    def offline(self) -> bool:
        """Whether there is no model."""
        return not self.endpoint and not self.model


class Price(Section):
    """What a model costs, in the currency of your choice per million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    batch_share: Share = 0.5
    """What a call in a batch file costs, as a share of the price of an ordinary one."""


class BudgetConfig(Section):
    """At which the run stops asking, cleanly; over all of its stages and sittings. 0 = no cap."""

    tokens: CountOrOff = 0
    cost: Annotated[float, Field(ge=0)] = 0.0
    """In the currency of `prices`; needs a price for every model that is asked."""


class TextsConfig(Section):
    """The prompts, and texts that exist already."""

    prompts: str = "cited"
    """"cited" (reasons with citations), "paper" (as published, the student's prompt too: no facts, nothing to cite), or
    a folder with files of your own for some of the teacher's."""
    descriptions: str = ""
    """CSV, JSON lines or Parquet with the columns item, text and perhaps origin; "" = none."""
    profiles: str = ""
    """The same with user, text, origin."""
    rationales: str = ""
    """The same with user, item, label, taste, why, origin, for train windows."""
    missing: Literal["leave", "write"] = "leave"
    """Where some texts of a kind are given, the others of it stay blank, or the teacher writes them."""
    vouched: bool = False
    """You vouch that no given text knows a review or rating of a target; else protocol = "paper" is needed."""


class DescribeConfig(Section):
    """Item texts."""

    words: Annotated[int, Field(ge=5, le=400)] = 25
    """At most (paper: 25)."""
    max_reviews: Annotated[int, Field(ge=1, le=512)] = 32
    """At most this many earliest allowed reviews of an item are read."""


class ProfileConfig(Section):
    """User texts."""

    words: Annotated[int, Field(ge=10, le=800)] = 100
    """At most (paper: 100)."""


class ReasonConfig(Section):
    """Rationales for train examples."""

    mode: Literal["hinted", "unhinted-first"] = "hinted"
    """"hinted": the writer is told the label (the paper: label-conditioned). "unhinted-first": it first reasons without
    it, kept where it gets it right; else it is told (STaR: Zelikman et al., 2022)."""
    tries: Annotated[int, Field(ge=1, le=20)] = 2
    """Times a model may be asked for one rationale until it passes the gates that work by rule."""
    shots: CountOrOff = 0
    """Rationales to write, balanced over labels; 0 = one for every train window."""
    taste_words: Annotated[int, Field(ge=5, le=400)] = 60
    why_words: Annotated[int, Field(ge=5, le=400)] = 80
    max_reasons: Annotated[int, Field(ge=1, le=9)] = 3


class VerifyConfig(Section):
    """What a rationale must pass to be trained on."""

    gates: tuple[Gate, ...] = ()
    """() = all that fit the prompts: form, length, stance, history and leak for "paper", every one for others. Prompts
    of your own that ask for no citations need the gates they can pass named here."""
    self_check: bool = True
    """Whether a model must recover the label from the rationale alone, with the label masked (skipped offline)."""


class TrainConfig(Section):
    """The student."""

    base: Annotated[str, Field(min_length=1)] = NANO
    """What it grows from: "nano" (a small Llama from scratch), or a folder or hub id that transformers can load."""
    hidden: Annotated[int, Field(ge=16, le=2048)] = 128
    """nano only, like the next three."""
    layers: Annotated[int, Field(ge=1, le=48)] = 4
    heads: Annotated[int, Field(ge=1, le=32)] = 4
    vocabulary: Annotated[int, Field(ge=600, le=65536)] = 4096
    lora_rank: Annotated[int, Field(ge=0, le=1024)] = 8
    """Of the adapter (LoRA: Hu et al., 2022); 0 = train all weights. nano is always trained whole."""
    lora_alpha: Count = 16
    """What the adapter adds is scaled by alpha / rank."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    lora_targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    """Names of the linear maps that get an adapter."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (Kalajdzievski, 2023)."""
    dora: bool = False
    """Part weights into size and direction (DoRA: Liu et al., 2024)."""
    precision: Literal["float32", "bfloat16", "4bit"] = "float32"
    """Of frozen weights, and of the arithmetic in training; trained weights are kept in float32. "4bit" (QLoRA:
    Dettmers et al., 2023) needs CUDA and bitsandbytes."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third more time."""
    max_tokens: Annotated[int, Field(ge=64, le=8192)] = 320
    """Prompt and completion together; history and descriptions are shortened to fit, never the target or label."""
    epochs: Count = 6
    batch_tokens: Annotated[int, Field(ge=64)] = 2048
    """Tokens computed at once, padding included."""
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    """A step learns from so many times `batch_tokens`, in parts that are computed one after the other."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.05
    warmup: Share = 0.1
    """Share of the steps."""
    decision_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the decision token's loss beside the mean loss over the text's tokens."""
    text_weight: Annotated[float, Field(ge=0)] = 1.0
    order: Literal["label-first", "reason-first", "decision-only"] = "label-first"
    """What the student learns to say: the decision and then why; why and then the decision; or the decision alone."""
    shots: CountOrOff = 0
    """Rows to learn from, as many of each label, those with a rationale first; 0 = all. The paper: 64, 128, 256."""
    patience: CountOrOff = 2
    """Epochs without a better valid AUC before training stops; 0 = never."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 20.0
    """Least time between checkpoints; 0 = after every step."""
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    """Who is told of the training beside `train_log.jsonl`; each is a package to install, with settings of its own."""


class PredictConfig(Section):
    """Stages score and predict: how the student is asked, the fused decision and its explanation."""

    mode: Literal["predict-first", "reason-first", "predict-only"] = "predict-first"
    """The student decides and then says why (the paper); says why and decides after it; or only decides."""
    batch_tokens: Annotated[int, Field(ge=64)] = 16384
    explain: CountOrOff = 0
    """Test queries to explain, in id order; 0 = all."""
    max_new_tokens: Annotated[int, Field(ge=16, le=1024)] = 160
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.6
    """How freely the student chooses words; 0 = always the likeliest. Draws are seeded by the query's id."""
    tries: Annotated[int, Field(ge=1, le=20)] = 6
    """Texts the student may write until one passes every gate; then the rule writer stands in."""


class BaselinesConfig(Section):
    """Trained and prompted recommenders to be measured against; the plain statistics are always there."""

    methods: tuple[
        Literal[
            "als",
            "mf",
            "sasrec",
            "caser",
            "gru4rec",
            "din",
            "zero-shot",
            "zero-shot-description",
            "zero-shot-profile",
            "zero-shot-both",
        ],
        ...,
    ] = ()
    """als needs the extra `baselines`; those named zero-shot ask the [teacher]."""
    zero_shot: Literal["likelihoods", "word"] = "likelihoods"
    """What is read of their answers: P(Yes) from the likelihoods of one token, for which the teacher has to give
    log-probabilities; or the word that is written, 1 or 0, of any teacher, one that thinks first too (the paper)."""
    shots: CountOrOff = 0
    """Train windows to learn from, as many of each label; 0 = every row of the past that may be learned from."""
    refits: Annotated[int, Field(ge=1, le=64)] = 8
    """Where there are times: blocks of queries, each answered by a model fitted on strictly earlier rows; 1 = one model
    for all, which then knows what others said of an item after the query."""
    hidden: Annotated[int, Field(ge=4, le=1024, multiple_of=2)] = 64
    """Features of sasrec (half to each of its two heads), caser, gru4rec and din; so are the next ones theirs."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    veiled: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = (0.1, 0.5)
    """Shares of items made unknown while learning; each is tried, and the best on valid kept. Where items are seen a
    few times only, much of what can be learned is what to make of an unknown one."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    batch: Count = 1024
    """Questions that a step learns from, about."""
    epochs: Count = 40
    patience: CountOrOff = 4
    """Epochs without a better valid AUC before training stops; 0 = never."""


class EvaluateConfig(Section):
    """Measures and intervals."""

    resamples: Annotated[int, Field(ge=100, le=100000)] = 1000
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    bins: Annotated[int, Field(ge=2, le=100)] = 10


class ReportConfig(Section):
    """What the report shows."""

    samples: Annotated[int, Field(ge=1, le=500)] = 20


class Config(Section):
    """One run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """The dataset's name in results: fashion, ml-100k, ..."""
    item_word: Annotated[str, Field(min_length=1, max_length=30)] = "item"
    """What one calls an item: movie, product, book."""
    items_word: Annotated[str, Field(max_length=30)] = ""
    """More than one of them; "" = `item_word` and an s."""
    user_word: Annotated[str, Field(min_length=1, max_length=30)] = "person"
    """What one calls a user: viewer, shopper, reader."""
    cache: str = ""
    """File that keeps every answer of a model; "" = $REASONINGREC_CACHE, else answers.sqlite in your cache folder."""
    protocol: Protocol = "honest"
    seed: Seed = 0
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    """CPU threads of the student; 0 = all cores."""
    without: tuple[Part, ...] = ()
    """Ablations, what texts are made without: "attributes" (brand, price, categories), "descriptions", "profiles",
    "evidence" (facts on user and crowd; the fused decision keeps its numbers), "rationales" (labels alone teach); and
    "fusion": the student alone decides."""
    data: DataConfig
    split: SplitConfig = SplitConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    teacher: ModelConfig = ModelConfig()
    judge: ModelConfig = ModelConfig()
    """Who judges rationales (`verify.self_check`); nothing = the teacher."""
    student: ModelConfig = ModelConfig()
    """Server on which the trained student answers; nothing = it answers on this machine."""
    prices: dict[str, Price] = {}
    """By model name."""
    budget: BudgetConfig = BudgetConfig()
    texts: TextsConfig = TextsConfig()
    describe: DescribeConfig = DescribeConfig()
    profile: ProfileConfig = ProfileConfig()
    reason: ReasonConfig = ReasonConfig()
    verify: VerifyConfig = VerifyConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
