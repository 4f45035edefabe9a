"""What cannot fit is refused, and nothing that fits."""

from dataclasses import replace

import pytest
from tiny_run import RECIPE

from keras_llm.errors import InputError
from keras_llm.models import ScratchBackbone
from keras_llm.recipes import load_recipe, memory, recipe_names
from keras_llm.recipes.parameters import count_parameters
from keras_llm.recipes.settings import OptimizerName, to_dict
from keras_llm.training.run import check_fits, compile_for_training

TRAINING = RECIPE.training
OPTIMIZERS = OptimizerName.__args__


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine of so many bytes, without accelerators."""

    def make(size):
        monkeypatch.setattr(memory, "physical_memory", lambda: size)
        monkeypatch.setattr(memory, "MOST_OF_ACCELERATORS", 1)

    return make


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_more_variables_are_counted_than_there_are(
    optimizer, accumulation, machine
):
    settings = replace(
        TRAINING,
        optimizer=optimizer,
        beta_1=0.0 if optimizer == "sgd" else 0.9,
        gradient_accumulation_steps=accumulation,
    )
    model = ScratchBackbone(vocabulary_size=20, **to_dict(RECIPE.model))
    compile_for_training(model, settings)
    variables = [*model.variables, *model.optimizer.variables]
    held = sum(variable.value.numpy().nbytes for variable in variables)
    machine(held)
    check_fits(model, settings, tokens=0)
    machine(held // 2)
    with pytest.raises(InputError, match="needs at least .* This machine has"):
        check_fits(model, settings, tokens=0)


def test_accelerators_have_memory_of_their_own(machine, monkeypatch):
    asked = []
    arguments = TRAINING, 10, 10, 100, lambda: asked.append(1) or True
    machine(1000)
    memory.check_memory(*arguments)
    assert not asked  # which would take hold of them
    machine(200)
    monkeypatch.setattr(memory, "MOST_OF_ACCELERATORS", 8)
    memory.check_memory(*arguments)
    machine(20)
    monkeypatch.setattr(memory, "MOST_OF_ACCELERATORS", 8)
    with pytest.raises(InputError, match="needs at least"):
        memory.check_memory(*arguments)


def test_a_system_that_does_not_say_refuses_nothing(machine):
    machine(None)
    memory.check_memory(TRAINING, 10**15, 10**15, 10**15, lambda: False)


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_are_not_refused(name, machine):
    recipe = load_recipe(name)
    size = recipe.tokenizer.vocabulary_size
    parameters = count_parameters(recipe.model, size)
    batch = memory.values_of_a_batch(recipe.model, recipe.training, size)
    machine(16 * 2**30)
    memory.check_memory(
        recipe.training, parameters, parameters, batch, lambda: False
    )
