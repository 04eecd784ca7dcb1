from world import World
def test_a_shop_at_rest(staged_world: World) -> None:
    staged_world.rest()
def test_a_shop_at_rest2(world: World) -> None:
    world.rest()
