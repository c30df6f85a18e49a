# SPDX-License-Identifier: Apache-2.0
"""Label sets, and the maps from one to another."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.labels import fused_label_set, LabelSet, remap_classes
from seg_ros.core.types import VOID

STREET = LabelSet(('road', 'pavement', 'car', 'truck', 'person'),
                  frozenset({'car', 'truck', 'person'}))


@pytest.mark.parametrize(('names', 'things', 'message'), [
    ((), (), '0 classes do not fit a mono8 label image, expected 1 to 255'),
    (tuple(map(str, range(256))), (), '256 classes do not fit .* merge or drop some with'),
    (('car', 'sky', 'car'), (), r"class names \['car'\] occur more than once"),
    (('car', 'sky'), ('bus', 'car'), r"things \['bus'\] are not among the class names"),
])
def test_a_label_set_that_cannot_label_an_image_is_refused(names, things, message):
    with pytest.raises(ValueError, match=message):
        LabelSet(names, frozenset(things))


def test_255_classes_are_the_most():
    assert len(LabelSet(tuple(map(str, range(255))), frozenset())) == 255


def test_ids_are_places_among_the_names():
    assert STREET.id_of('car') == 2
    assert STREET.thing_ids == {2, 3, 4}
    assert np.flatnonzero(STREET.is_thing()).tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="^unknown class 'bus', expected one of road, pavement"):
        STREET.id_of('bus')


def test_colours_differ_between_classes_and_are_black_for_void():
    names = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence', 'car',
             'pedestrian', 'bicyclist', *(f'class_{i}' for i in range(100)))
    colours = LabelSet(names, frozenset()).colours()
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours[:len(names)], axis=0)) == len(names)
    assert not colours[len(names):].any()
    assert colours[:len(names)].any(axis=1).all()


def test_255_classes_without_a_known_name_all_have_their_own_colour():
    colours = LabelSet(tuple(f'class_{i}' for i in range(255)), frozenset()).colours()
    assert len(np.unique(colours, axis=0)) == 256


def test_without_rules_every_class_keeps_its_id():
    remap = remap_classes(STREET, ())
    assert remap.label_set == STREET
    assert remap.table[:5].tolist() == [0, 1, 2, 3, 4]
    assert (remap.table[5:] == VOID).all()


def test_rules_keep_merge_drop_and_reorder():
    remap = remap_classes(STREET, ('car, truck=vehicle', 'road'))
    assert remap.label_set == LabelSet(('vehicle', 'road'), frozenset({'vehicle'}))
    #                                  road pavement car truck person
    assert remap.table[:5].tolist() == [1, VOID, 0, 0, VOID]
    assert (remap.table[5:] == VOID).all()


def test_two_rules_with_one_new_name_merge_too():
    remap = remap_classes(STREET, ('car=vehicle', 'road', 'truck=vehicle'))
    assert remap.label_set.names == ('vehicle', 'road')
    assert remap.table[:5].tolist() == [1, VOID, 0, 0, VOID]


@pytest.mark.parametrize(('rules', 'message'), [
    (('bus',), "unknown class 'bus', expected one of road"),
    (('car', 'car,truck=vehicle'), "class 'car' is named by two rules"),
    (('road,car=mixed',), r"class 'mixed' would join things and stuff \(\['road', 'car'\]\)"),
    (('road=a', 'car=a'), "class 'a' would join things and stuff"),
    (('car,truck',), "cannot read 'car,truck' in `classes`, expected `name` or"),
    (('=vehicle',), "cannot read '=vehicle'"),
    (('car=',), "cannot read 'car='"),
    (('',), "cannot read ''"),
])
def test_a_rule_that_makes_no_sense_is_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        remap_classes(STREET, rules)


def test_fused_classes_are_the_semantic_ones_then_the_new_things():
    detector = LabelSet(('dog', 'grass', 'car'), frozenset({'dog', 'car'}))
    fused = fused_label_set(STREET, detector)
    assert fused.label_set.names == (*STREET.names, 'dog')
    assert fused.label_set.things == STREET.things | {'dog'}
    #                                  dog grass car
    assert fused.table[:3].tolist() == [5, VOID, 2]
    assert (fused.table[3:] == VOID).all()


def test_a_class_that_only_the_instance_model_counts_becomes_a_thing():
    semantic = LabelSet(('ground', 'tree'), frozenset())
    fused = fused_label_set(semantic, LabelSet(('tree',), frozenset({'tree'})))
    assert fused.label_set == LabelSet(('ground', 'tree'), frozenset({'tree'}))


def test_fused_sets_that_are_too_large_are_refused():
    left = LabelSet(tuple(f'a{i}' for i in range(200)), frozenset())
    names = tuple(f'b{i}' for i in range(56))
    with pytest.raises(ValueError, match='256 classes do not fit'):
        fused_label_set(left, LabelSet(names, frozenset(names)))
