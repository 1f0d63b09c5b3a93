#include "node/commands_parts.h"

int main(int argc, char **argv)
{
    node_words words = {.argc = argc, .argv = argv};
    return fl_cli_main(NODE_PROGRAM, "A hospital's node: trains where the images are, sends only noised numbers.",
                       node_commands, argc, argv, &words);
}
