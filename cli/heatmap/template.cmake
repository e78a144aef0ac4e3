# Puts the page of the heat map together and makes a C++ source of it, which becomes HEATMAP_TEMPLATE_SOURCE.
foreach(part css js)
  string(TOUPPER ${part} name)
  file(READ ${CMAKE_CURRENT_LIST_DIR}/page.${part} HEATMAP_${name})
endforeach()
file(READ ${CMAKE_CURRENT_LIST_DIR}/page.html page)
string(CONFIGURE "${page}" HEATMAP_PAGE @ONLY)
set(HEATMAP_TEMPLATE_SOURCE ${CMAKE_CURRENT_BINARY_DIR}/heatmap_template.cc)
configure_file(${CMAKE_CURRENT_LIST_DIR}/template.cc.in ${HEATMAP_TEMPLATE_SOURCE} @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  ${CMAKE_CURRENT_LIST_DIR}/page.html ${CMAKE_CURRENT_LIST_DIR}/page.css ${CMAKE_CURRENT_LIST_DIR}/page.js)
