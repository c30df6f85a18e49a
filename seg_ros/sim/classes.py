# SPDX-License-Identifier: Apache-2.0
"""The eleven classes of the street, in CamVid's order."""
from __future__ import annotations

CLASS_NAMES = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence',
               'car', 'pedestrian', 'bicyclist')
THINGS = ('car', 'pedestrian', 'bicyclist')

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
