# find_package(pymigrate): targets pymigrate::pymigrate (shared) and pymigrate::static.
get_filename_component(_pymigrate_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

include(CMakeFindDependencyMacro)
find_dependency(Threads)

if(NOT TARGET pymigrate::pymigrate)
	add_library(pymigrate::pymigrate SHARED IMPORTED)
	set_target_properties(pymigrate::pymigrate PROPERTIES
		IMPORTED_LOCATION "${_pymigrate_root}/lib/libpymigrate.so"
		IMPORTED_SONAME "libpymigrate.so"
		INTERFACE_INCLUDE_DIRECTORIES "${_pymigrate_root}/include")

	add_library(pymigrate::static STATIC IMPORTED)
	set_target_properties(pymigrate::static PROPERTIES
		IMPORTED_LOCATION "${_pymigrate_root}/lib/libpymigrate.a"
		INTERFACE_INCLUDE_DIRECTORIES "${_pymigrate_root}/include"
		INTERFACE_LINK_LIBRARIES Threads::Threads)
endif()

unset(_pymigrate_root)
