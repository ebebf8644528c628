"""Does a whole network bear half an hour of work in which every part of it dies again and again?"""
