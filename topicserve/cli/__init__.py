"""The program `topicserve`: one module or package a command, imported when it is typed.

`main` obeys signals and reserves the standard streams, `commands` finds the command and turns its
errors into one line and an exit code. A command has `add_arguments(parser)` and `run(arguments) ->
int`. What a person can correct is a UsageError; results go to standard output, progress and
warnings to standard error. Nothing imports this package: code of your own uses `topicserve`'s own
names.
"""
