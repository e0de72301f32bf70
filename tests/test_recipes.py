"""Recipes and suites are read from TOML, and whatever they get wrong is refused with the file, the key and the fix."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from advlab import workspace
from advlab.declarations.recipes import EarlyStopping, load_recipe, settings
from advlab.declarations.suites import load_suite
from advlab.errors import InvalidFile, InvalidValue, UnknownName

RECIPE = """
title = "A test"
dataset = "digits"

[architecture]
name = "mlp"
hidden = [8]

[training]
optimizer = "adam"
batch_size = 32
epochs = 2
"""
ATTACK = '[[attack]]\nmethod = "pgd"\n'


@pytest.fixture
def recipe(tmp_path):
    """Load a recipe whose file is the valid one with a piece replaced, or with lines added at the end."""

    def load(old="", new="", add=""):
        assert old in RECIPE
        path = tmp_path / "mine.toml"
        path.write_text(RECIPE.replace(old, new) + add if old else RECIPE + add, "utf-8")
        return load_recipe(path)

    return load


@pytest.fixture
def suite(tmp_path):
    def load(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, "utf-8")
        return load_suite(path)

    return load


def test_a_recipe_is_its_file(recipe):
    loaded = recipe()
    assert (loaded.name, loaded.title, loaded.dataset, loaded.version) == ("mine", "A test", "digits", 1)
    assert loaded.architecture == {"name": "mlp", "hidden": [8]}
    assert (loaded.training.optimizer, loaded.training.batch_size, loaded.training.epochs) == ("adam", 32, 2)


def test_what_a_recipe_leaves_out_has_a_default(recipe):
    training = recipe().training
    assert (training.seed, training.validation_split) == (0, 0.0)
    assert training.learning_rate is training.train_samples is training.early_stopping is None


def test_optional_settings_are_read(recipe):
    loaded = recipe(
        add="learning_rate = 0.5\nvalidation_split = 0.2\ntrain_samples = 100\n"
        "early_stopping = { patience = 3 }\n[published]\ntest_accuracy = 0.9\n"
    )
    assert loaded.training.learning_rate == 0.5
    assert loaded.training.train_samples == 100
    assert loaded.training.early_stopping == EarlyStopping(3, "val_loss")
    assert loaded.published == {"test_accuracy": 0.9}


def test_the_settings_of_a_recipe_are_what_its_weights_depend_on(recipe):
    loaded = recipe()
    assert settings(loaded) == {
        "dataset": "digits",
        "architecture": {"name": "mlp", "hidden": [8]},
        "training": {"optimizer": "adam", "batch_size": 32, "epochs": 2},
    }
    often = replace(loaded.training, checkpoint_every=7)
    assert settings(replace(loaded, title="Other", published={"note": "new"}, training=often)) == settings(loaded)
    for change in (
        {"dataset": "mnist"},
        {"architecture": {**loaded.architecture, "dropout": 0.1}},
        {"training": replace(loaded.training, seed=7)},
        {"training": replace(loaded.training, early_stopping=EarlyStopping(3, "loss"))},
    ):
        assert settings(replace(loaded, **change)) != settings(loaded)


def test_the_card_of_an_older_version_may_lack_settings_that_were_added_later(recipe):
    stored = json.loads(json.dumps(asdict(recipe())))
    del stored["training"]["precision"]
    assert settings(stored) == settings(recipe())


def test_a_recipe_cannot_be_changed_in_place(recipe):
    with pytest.raises(FrozenInstanceError):
        recipe().title = "Another"


def test_a_changed_copy_is_checked_like_a_file(recipe):
    with pytest.raises(InvalidValue, match=r"training.epochs must be an int in the range \[1, 1000000\]. Got 0"):
        replace(recipe().training, epochs=0)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (
            "epochs = 2",
            "epochs = 0",
            InvalidValue,
            r"training.epochs must be an int in the range \[1, 1000000\]. Got 0",
        ),
        ("epochs = 2", "epochs = 2.5", InvalidValue, "training.epochs must be an int .* Got 2.5"),
        ("epochs = 2", "epochs = true", InvalidValue, "training.epochs must be an int .* Got True"),
        ("epochs = 2", "", InvalidValue, "The key training.epochs is missing"),
        ("epochs", "epoch", UnknownName, "Unknown key 'training.epoch'. Did you mean 'training.epochs'"),
        ("batch_size = 32", "batch_size = '32'", InvalidValue, "training.batch_size must be an int.* Got '32'"),
        ('"adam"', '"adan"', UnknownName, "Unknown training.optimizer 'adan'. Did you mean 'adam'"),
        ("title", "titel", UnknownName, "Unknown key 'titel'. Did you mean 'title'"),
        ('title = "A test"', "title = 3", InvalidValue, "title must be a string in quotes. Got 3"),
        ('dataset = "digits"', "", InvalidValue, "The key dataset is missing"),
        ('"mlp"', '"mpl"', UnknownName, "Unknown architecture.name 'mpl'. Did you mean 'mlp'"),
        (
            'name = "mlp"',
            "",
            InvalidValue,
            "architecture.name is missing. Allowed: convnet, convolved_words",
        ),
        ("hidden = [8]", "", InvalidValue, "The key architecture.hidden is missing"),
        ("hidden", "hiden", InvalidValue, "The key architecture.hidden is missing"),
        ("hidden = [8]", "hidden = 8", InvalidValue, "architecture.hidden must be a list of ints.* Got 8"),
        ("hidden = [8]", "hidden = [8, 0]", InvalidValue, "architecture.hidden must be a list of ints"),
        ("[8]", "[8]\ndropuot = 0.1", UnknownName, "key of architecture 'mlp': 'dropuot'. Did you mean 'dropout'"),
        ("[8]", "[8]\ndropout = 1", InvalidValue, r"architecture.dropout must be a float in the range \[0, 1\). Got 1"),
        ("[8]", "[8]\nactivation = 1", InvalidValue, "architecture.activation must be a string"),
        ("[training]", "[[training]]", InvalidValue, "training must be a table"),
    ],
)
def test_a_mistake_in_a_recipe_is_refused_with_file_key_value_and_fix(recipe, old, new, error, message):
    with pytest.raises(error, match=f"mine.toml: .*{message}"):
        recipe(old, new)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed = -1", r"training.seed must be an int in the range \[0, 4294967295\]. Got -1"),
        ("seed = 4294967296", "training.seed must be an int"),
        ("learning_rate = 0", "training.learning_rate must be a number above 0. Got 0"),
        ("learning_rate = nan", "training.learning_rate must be a number above 0. Got nan"),
        ("validation_split = 1.0", r"training.validation_split must be a float in the range \[0, 1\). Got 1.0"),
        ("train_samples = 0", "training.train_samples must be an int"),
        ('schedule = "cosine"', "schedule 'cosine' needs the rate from which it falls"),
        ("random_shift = -1", "training.random_shift must be an int"),
        ("random_flip = 1", "training.random_flip must be true or false. Got 1"),
        ("early_stopping = 3", "training.early_stopping must be a table"),
        ("early_stopping = { patience = 0 }", "training.early_stopping.patience must be an int"),
        ("early_stopping = { patience = 2 }", "monitor 'val_loss' needs validation images"),
        (
            "[published]\ntest_accuracy = 87.04",
            r"published.test_accuracy must be a float in the range \[0, 1\]. Got 87.04",
        ),
        ("[published]\nparameters = 1.5", "published.parameters must be an int"),
    ],
)
def test_a_value_out_of_range_is_refused(recipe, line, message):
    with pytest.raises(InvalidValue, match=message):
        recipe(add=line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("early_stopping = { patience = 2, monitor = 'val_los' }", "early_stopping.monitor 'val_los'. Did you mean"),
        ("early_stopping = { patiense = 2 }", "'training.early_stopping.patiense'. Did you mean"),
        ("[published]\ntest_acuracy = 0.9", r"key in \[published\] 'test_acuracy'. Did you mean 'test_accuracy'"),
    ],
)
def test_an_unknown_name_brings_the_nearest_one(recipe, line, message):
    with pytest.raises(UnknownName, match=message):
        recipe(add=line)


def test_the_cells_of_a_recurrent_network_are_those_of_its_signature(recipe):
    assert recipe('name = "mlp"\nhidden = [8]', 'name = "rnn"\nunits = 4\ncell = "gru"').architecture["cell"] == "gru"
    with pytest.raises(UnknownName, match=r"architecture.cell 'gur'. Did you mean 'gru'"):
        recipe('name = "mlp"\nhidden = [8]', 'name = "rnn"\nunits = 4\ncell = "gur"')
    with pytest.raises(InvalidValue, match=r"architecture.bidirectional must be true or false. Got 1"):
        recipe('name = "mlp"\nhidden = [8]', 'name = "rnn"\nunits = 4\nbidirectional = 1')


def test_what_is_not_toml_is_refused_with_the_line(recipe):
    with pytest.raises(InvalidFile, match=r"mine.toml' cannot be read as TOML: .*line 3"):
        recipe('dataset = "digits"', "dataset = ")


def test_an_unknown_recipe_or_suite_brings_the_nearest_one():
    with pytest.raises(UnknownName, match=r"Unknown recipe 'fashon'. Did you mean 'fashion'"):
        load_recipe("fashon")
    with pytest.raises(UnknownName, match=r"Unknown suite 'quik'. Did you mean 'quick'"):
        load_suite("quik")


@pytest.mark.parametrize("name", sorted(workspace.recipes()))
def test_every_shipped_recipe_names_its_source(name):
    assert load_recipe(name).source


@pytest.mark.parametrize("name", sorted(workspace.suites()))
def test_every_shipped_suite_aims_each_of_its_attacks(name):
    loaded = load_suite(name)
    for norm in loaded.norms or (None,):
        entries = loaded.under(norm)
        assert entries
        assert {entry.threat.norm for entry in entries} <= {norm} or norm is None


def test_the_quick_suite_is_a_control_and_two_attacks_that_never_stop():
    quick = load_suite("quick")
    assert [entry.method for entry in quick.attacks] == ["noise", "fgsm", "pgd"]
    assert {(e.norm, e.epsilon, e.early_stop) for e in quick.attacks} == {("linf", 0.1, False)}


def test_an_attack_of_a_suite_stops_at_success_unless_it_says_otherwise(suite):
    entry = suite('title = "T"\n' + ATTACK).attacks[0]
    assert (entry.early_stop, entry.norm, entry.epsilon, entry.restarts, entry.seed) == (True, None, None, 1, 0)
    assert entry.attack().threat.epsilon == 0.1


def test_a_suite_gives_parameters_and_fractions_of_255(suite):
    entry = suite('title = "T"\n' + ATTACK + 'epsilon = "8/255"\nparameters = { steps = 7 }').attacks[0]
    assert entry.attack().threat.epsilon == 8 / 255
    assert entry.attack().parameters["steps"] == 7


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ('method = "pdg"', UnknownName, "Unknown method 'pdg'. Did you mean 'pgd'"),
        ('method = "pgd"\nespilon = 1', UnknownName, "Unknown key 'espilon'. Did you mean 'epsilon'"),
        ('method = "pgd"\nepsilon = 8', InvalidValue, "epsilon must be at most 1"),
        ('method = "pgd"\nepsilon = [1]', InvalidValue, "epsilon must be a number"),
        ('method = "pgd"\nepsilon = "a"', InvalidValue, "epsilon must be a number"),
        ('method = "pgd"\nnorm = "linff"', UnknownName, "Unknown norm 'linff'. Did you mean 'linf'"),
        ('method = "pgd"\nearly_stop = "always"', InvalidValue, "early_stop must be true or false"),
        ('method = "pgd"\nrestarts = 0', InvalidValue, "restarts must be an int"),
        ('method = "pgd"\ntarget = -1', InvalidValue, "target must be"),
        ('method = "pgd"\nparameters = { stepps = 3 }', UnknownName, "'stepps'. Did you mean 'steps'"),
        ("epsilon = 0.1", InvalidValue, "The key method is missing"),
    ],
)
def test_a_mistake_in_a_suite_is_refused_with_file_and_attack(suite, lines, error, message):
    with pytest.raises(error, match=f"mine.toml: attack 2: .*{message}"):
        suite(f'title = "T"\n{ATTACK}[[attack]]\n{lines}')


def test_a_suite_without_attacks_is_refused(suite):
    with pytest.raises(InvalidValue, match=r"at least one \[\[attack\]\]"):
        suite('title = "T"')
    with pytest.raises(InvalidValue, match=r"attack must be a list of tables"):
        suite('title = "T"\n[attack]\nmethod = "pgd"')
