"""What the tasks that train continued runs do: the stages of an arm in order, with the gates between them. Runs in the
launcher's process; imports train and evaluate.
"""
